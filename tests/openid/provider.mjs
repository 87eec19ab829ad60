// A certified OpenID provider with its development pages: whoever types a name is that user, in the groups of GROUPS.
import Provider from "oidc-provider";

const { PORT, CALLBACK, SECRET, GROUPS } = process.env;
const groups = JSON.parse(GROUPS);
const provider = new Provider(`http://127.0.0.1:${PORT}`, {
  clients: [{ client_id: "takhin", client_secret: SECRET, redirect_uris: [CALLBACK] }],
  scopes: ["openid", "profile", "email"],
  claims: { openid: ["sub", "groups"], profile: ["preferred_username"], email: ["email"] },
  findAccount: (_, name) => ({
    accountId: name,
    claims: () => ({ sub: name, preferred_username: name, groups: groups[name] }),
  }),
  cookies: { keys: ["tests"] },
});
provider.on("server_error", (_, error) => console.error(error));
provider.listen(Number(PORT), "127.0.0.1", () => console.log("listening"));
