// The certified OpenID provider `oidc-provider` on 127.0.0.1: node oidc_provider.mjs FOLDER_OF_NODE_MODULES PORT AUDIENCE
// One client, `ci` with the secret `ci-secret`, gets JWT access tokens for AUDIENCE by client credentials.
import { createRequire } from 'node:module';
import { generateKeyPairSync } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const [folder, port, audience] = process.argv.slice(2);
const resolved = createRequire(`${folder}/`).resolve('oidc-provider');
const { Provider } = await import(pathToFileURL(resolved).href);

const scope = 'tasks:read events:read';
const alg = process.env.ALG ?? 'RS256';
const { privateKey } = alg.startsWith('ES')
  ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
  : generateKeyPairSync('rsa', { modulusLength: 2048 });
const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'one', alg, use: 'sig' }] },
  clients: [{
    client_id: 'ci', client_secret: 'ci-secret', grant_types: ['client_credentials'], redirect_uris: [],
    response_types: [], scope, id_token_signed_response_alg: alg,
  }],
  scopes: scope.split(' '),
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      getResourceServerInfo: (_ctx, resource) => ({
        scope, audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: 600,
        jwt: { sign: { alg } },
      }),
    },
  },
});
provider.listen(Number(port), '127.0.0.1');
