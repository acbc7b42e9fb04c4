/** Row: nobody reads the API without credentials, and credentials can be taken back. */
import { assessment, met, unknown, type ScorecardRow } from '../row.ts';
import type { ServerFlags } from '../server-flags.ts';

/** Files of secrets that hold until the server is started again. */
const STATIC = ['token-auth-file', 'basic-auth-file'];
const LOGINS: readonly (readonly [string, string])[] = [
  ['oidc-issuer-url', 'OIDC'],
  ['authentication-config', 'an authentication configuration'],
  ['authentication-token-webhook-config-file', 'a webhook'],
  ['requestheader-client-ca-file', 'an authenticating proxy'],
  ['ldap-config', 'LDAP'],
];

export const authentication: ScorecardRow = {
  name: 'authentication',
  topic: 'Users',
  title: 'Requests without credentials read nothing, and no static secrets are in use',
  explain:
    'A request without credentials is made for a list of namespaces: it must be refused. The flags of the API server, where they can be seen, must name no file of static tokens or passwords, which cannot be taken back without a restart. Met: both hold. Unknown: the flags cannot be seen.',
  async assess({ outside, flags }) {
    const status = await outside.anonymousStatus('/api/v1/namespaces');
    if (status !== 401 && status !== 403)
      return assessment('not met', {
        evidence: [`a request without credentials for /api/v1/namespaces is answered with ${status}`],
        remedy: 'remove the role binding of system:anonymous or system:unauthenticated that allows it',
      });
    const evidence = `a request without credentials is answered with ${status}`;
    const seen = await flags();
    if (!seen) return unknown(evidence, 'the flags of the API server cannot be seen');
    return ofFlags(seen, evidence);
  },
};

function ofFlags(flags: ServerFlags, evidence: string): ReturnType<typeof met> {
  const statics = STATIC.filter((name) => flags.has(name));
  if (statics.length > 0)
    return assessment('partly', {
      evidence: [evidence, `static secrets: --${statics.join(', --')}`],
      remedy: 'let people log in by OIDC or LDAP (docs/authentication.md) and remove the file',
    });
  const logins = LOGINS.filter(([name]) => (flags.get(name) ?? '') !== '').map(([, text]) => text);
  return met(evidence, `people log in by ${['client certificates', ...logins].join(', ')}`);
}
