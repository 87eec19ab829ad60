from django.apps import AppConfig


class ProducerConfig(AppConfig):
    name = "producer"
    verbose_name = "Gateway"
