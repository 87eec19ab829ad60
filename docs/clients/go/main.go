// A complete client for Takhin HTTP Producer, using only Go's standard library.
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

// Record is one record to write; nil fields are omitted.
type Record struct {
	Key       any      `json:"key,omitempty"`
	Value     any      `json:"value"`
	Partition *int     `json:"partition,omitempty"`
	Timestamp *int64   `json:"timestamp,omitempty"`
	Headers   []Header `json:"headers,omitempty"`
}

type Header struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
}

// Outcome says where a record was written or, if Code is not empty, why it was not.
type Outcome struct {
	Partition int    `json:"partition"`
	Offset    int64  `json:"offset"`
	Timestamp int64  `json:"timestamp"`
	Error     string `json:"error,omitempty"`
	Code      string `json:"code,omitempty"`
	Retriable bool   `json:"retriable,omitempty"`
}

// mayRetry reports whether the record may be written if it is sent again unchanged.
func (o Outcome) mayRetry() bool { return o.Retriable }

// answer holds the fields of every response that this client reads. Status is an HTTP status or a word.
type answer struct {
	Offsets    []Outcome       `json:"offsets"`
	RequestID  string          `json:"requestId"`
	Status     json.RawMessage `json:"status"`
	Error      string          `json:"error"`
	Detail     string          `json:"detail"`
	retryAfter time.Duration
}

// Client is safe for use by many goroutines.
type Client struct {
	URL, Key string
	Attempts int
	HTTP     *http.Client
}

// Produce writes records now, each at most once, and returns one outcome per record, in order. It retries what may
// succeed.
func (c *Client) Produce(topic string, records []Record, parameters url.Values) ([]Outcome, error) {
	outcomes := make([]Outcome, len(records))
	left := make([]int, len(records))
	for index := range records {
		left[index] = index
	}
	for attempt := 1; ; attempt++ {
		batch := make([]Record, len(left))
		for place, index := range left {
			batch[place] = records[index]
		}
		got, err := c.send(topic, batch, parameters)
		if err != nil {
			return nil, err
		}
		if len(got.Offsets) != len(left) {
			return nil, fmt.Errorf("%d records sent, %d answered", len(left), len(got.Offsets))
		}
		var again []int
		for place, index := range left {
			outcomes[index] = got.Offsets[place]
			if outcomes[index].mayRetry() {
				again = append(again, index)
			}
		}
		if left = again; len(left) == 0 || attempt == c.Attempts {
			return outcomes, nil
		}
		time.Sleep(got.retryAfter)
	}
}

// Submit queues records to be written later, exactly once, and returns the request's id.
func (c *Client) Submit(topic string, records []Record, parameters url.Values) (string, error) {
	query := url.Values{"async": {"true"}}
	for name, values := range parameters {
		query[name] = values
	}
	got, err := c.send(topic, records, query)
	return got.RequestID, err
}

// Wait returns a submitted request's outcomes once it is done; if it failed, it returns the reason as an error too.
func (c *Client) Wait(requestID string) ([]Outcome, error) {
	for {
		got, err := c.retry("GET", "/api/produce/status/"+requestID+"?wait=20", nil, "")
		switch {
		case err != nil:
			return nil, err
		case string(got.Status) == `"completed"`:
			return got.Offsets, nil
		case string(got.Status) == `"failed"`:
			return got.Offsets, fmt.Errorf("%s failed: %s", requestID, got.Error)
		}
		time.Sleep(got.retryAfter)
	}
}

func (c *Client) send(topic string, records []Record, parameters url.Values) (answer, error) {
	body, err := json.Marshal(map[string]any{"records": records})
	if err != nil {
		return answer{}, err
	}
	// The same key in every attempt.
	key := make([]byte, 16)
	if _, err := rand.Read(key); err != nil {
		return answer{}, err
	}
	path := "/api/topics/" + url.PathEscape(topic) + "/produce?" + parameters.Encode()
	return c.retry("POST", path, body, fmt.Sprintf("%x", key))
}

// retry sends a request until it succeeds or fails for good. That is safe: nothing was written, or the key makes sure
// that nothing is written twice.
func (c *Client) retry(method, path string, body []byte, idempotencyKey string) (answer, error) {
	for attempt := 1; ; attempt++ {
		isLast := attempt == c.Attempts
		status, got, err := c.call(method, path, body, idempotencyKey)
		switch {
		case err != nil:
			if isLast {
				return got, err
			}
		// A response with offsets has one outcome per record, whatever its status.
		case status < 400 || got.Offsets != nil && (status != 504 || isLast):
			return got, nil
		case isLast || status != 409 && status != 429 && status != 503 && status != 504:
			return got, fmt.Errorf("%d %s: %s", status, got.Error, got.Detail)
		}
		time.Sleep(got.retryAfter)
	}
}

func (c *Client) call(method, path string, body []byte, idempotencyKey string) (int, answer, error) {
	got := answer{retryAfter: time.Second}
	request, err := http.NewRequest(method, c.URL+path, bytes.NewReader(body))
	if err != nil {
		return 0, got, err
	}
	request.Header.Set("Content-Type", "application/json")
	if c.Key != "" {
		request.Header.Set("Authorization", "Bearer "+c.Key)
	}
	if idempotencyKey != "" {
		request.Header.Set("Idempotency-Key", idempotencyKey)
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return 0, got, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, got, err
	}
	if json.Unmarshal(text, &got) != nil {
		// Not from this server: a proxy in front of it responded.
		got.Error, got.Detail = "not JSON", fmt.Sprintf("%.200s", text)
	}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
		got.retryAfter = time.Duration(seconds) * time.Second
	}
	return response.StatusCode, got, nil
}

func main() {
	address := os.Getenv("TAKHIN_URL")
	if address == "" {
		address = "http://127.0.0.1:8080"
	}
	takhin := &Client{address, os.Getenv("TAKHIN_KEY"), 5, &http.Client{Timeout: time.Minute}}

	records := []Record{{Key: "user-1", Value: "signup"}, {Value: "login"}, {Value: map[string]string{"not": "a string"}}}
	outcomes, err := takhin.Produce("demo", records, url.Values{"value.format": {"string"}})
	if err != nil {
		log.Fatal(err)
	}
	for index, outcome := range outcomes {
		if outcome.Code != "" {
			fmt.Printf("record %d failed: %s\n", index, outcome.Code)
		} else {
			fmt.Printf("record %d is at partition %d, offset %d\n", index, outcome.Partition, outcome.Offset)
		}
	}

	event := Record{Key: "user-2", Value: map[string]int{"amount": 5}}
	requestID, err := takhin.Submit("demo", []Record{event}, url.Values{"compression": {"zstd"}})
	if err != nil {
		log.Fatal(err)
	}
	outcomes, err = takhin.Wait(requestID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s completed: %+v\n", requestID, outcomes)
}
