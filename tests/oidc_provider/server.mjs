// A real OpenID provider on loopback for the tests. The first line it prints is its port; POST /control changes what it says of people.
import { createServer } from "node:http";
import Provider from "oidc-provider";

const redirect = process.argv[2];
const signedOut = process.argv[3];
const secret = process.env.OIDC_SECRET_TEST;
const people = new Map();
let provider;

const server = createServer(async (request, response) => {
  if (request.method === "POST" && request.url === "/control") {
    let body = "";
    for await (const part of request) body += part;
    for (const [name, claims] of Object.entries(JSON.parse(body))) people.set(name, claims);
    response.end("ok");
    return;
  }
  provider.callback()(request, response);
});

server.listen(0, "127.0.0.1", () => {
  const { port } = server.address();
  provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [
      { client_id: "mission-control", client_secret: secret, redirect_uris: [redirect], post_logout_redirect_uris: [signedOut] },
    ],
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "groups"] },
    pkce: { required: () => true, methods: ["S256"] },
    cookies: { keys: ["tests-only"] },
    findAccount: (context, id) => ({ accountId: id, claims: () => ({ sub: id, ...people.get(id) }) }),
  });
  process.stdout.write(`${port}\n`);
});
