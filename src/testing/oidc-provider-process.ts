/**
 * For tests only, run as a process of its own: oidc-provider, an issuer that others certified, on loopback over HTTPS. Reads its certificate from the
 * files named by its arguments (certificate, key), and says its URL to the parent process.
 */
import { readFileSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { generateKeyPairSync } from 'node:crypto';

// It brings no types.
const MODULE: string = 'oidc-provider';
const { default: Provider } = (await import(MODULE)) as {
  readonly default: new (issuer: string, configuration: object) => { callback(): RequestListener };
};

const [, , certFile = '', keyFile = ''] = process.argv;
const server = createServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) });
server.listen(0, '127.0.0.1', () => {
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const jwk = {
    ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }),
    kid: 'of-the-provider',
    use: 'sig',
    alg: 'RS256',
  };
  const provider = new Provider(url, {
    jwks: { keys: [jwk] },
    clients: [
      {
        client_id: 'kubectl',
        client_secret: 'a-secret-of-a-test',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      },
    ],
    scopes: ['api'],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      // Access tokens of a resource are JWTs, signed and published like ID tokens; no person has to type a password for them.
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:capstan',
        getResourceServerInfo: () => ({
          scope: 'api',
          audience: 'capstan',
          accessTokenFormat: 'jwt',
          accessTokenTTL: 600,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    extraTokenClaims: () => ({
      email: 'jane@example.org',
      email_verified: true,
      groups: ['developers', 'oncall'],
    }),
  });
  server.on('request', provider.callback());
  process.send?.({ url });
});
process.on('disconnect', () => process.exit(0));
