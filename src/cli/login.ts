/**
 * `capstan login`: exchanges a password, a Kerberos ticket or a login at an OpenID Connect issuer for a short-lived token, and writes a kubeconfig whose
 * user is this program as kubectl's credential plugin. Passwords are never stored; tokens in a cache file readable only by its owner.
 *
 *   capstan login ──► token ─► cache file            kubectl ──► capstan login --exec-credential ──► cached token, while it lasts
 *        '──────────► kubeconfig with exec                             '─ ended: refresh (OIDC), ticket (Kerberos), ask at the terminal, or say what to run
 */
import { Option, type Command } from 'commander';
import { UserError } from '#deploy/data-dir.ts';
import { action, print, wholeNumber, list } from './context.ts';
import { execCluster, execCredential, isInteractive } from './login/exec-credential.ts';
import { clusterFor, writeLogin } from './login/kubeconfig-file.ts';
import type { LoginCluster, LoginFlags, Method } from './login/methods.ts';
import { TokenCache, type Token } from './login/token-cache.ts';

const METHODS: readonly Method[] = ['basic', 'ldap', 'kerberos', 'oidc'];

export function register(program: Command): void {
  program
    .command('login')
    .description('get a short-lived token for kubectl: by password, Kerberos ticket or OpenID Connect')
    .option('--server <url>', 'the API server (default: that of the kubeconfig)')
    .option(
      '--certificate-authority <file>',
      "authority of the server's certificate (default: that of the kubeconfig, else those the machine trusts)",
    )
    .option('--data-dir <dir>', 'a cluster of this machine, instead of --server and --certificate-authority')
    .option('--basic', 'by a password that the API server checks (the default)')
    .option('--ldap', 'by a password that its LDAP directory checks')
    .option('--kerberos', 'by the Kerberos ticket of kinit')
    .option('--oidc', 'by an OpenID Connect issuer')
    .option('--user <name>', 'user name (default: $USER)')
    .option('--password-stdin', 'read the password from standard input')
    .option(
      '--expires <duration>',
      'how long the token should last, within what the server allows, for example 1h',
    )
    .option('--kerberos-service <name>', "the API server's service (default: HTTP@HOST of --server)")
    .option('--oidc-issuer-url <url>', 'the issuer')
    .option('--oidc-client-id <id>', 'the client registered there')
    .option('--oidc-client-secret <text>', 'its secret, where it has one; it is written into the kubeconfig')
    .addOption(
      new Option(
        '--oidc-scope <names>',
        'scopes to ask for beside openid and offline_access; may be given several times',
      ).argParser(list),
    )
    .option(
      '--oidc-ca-file <file>',
      "authority of the issuer's certificate (default: those the machine trusts)",
    )
    .option('--oidc-device', 'log in with the browser of another device')
    .addOption(
      new Option(
        '--oidc-listen-port <n>',
        'port of 127.0.0.1 that the browser comes back to (default: any)',
      ).argParser(wholeNumber('oidc-listen-port', { min: 1, max: 65535 })),
    )
    .option('--no-browser', 'print the address to visit instead of opening a browser')
    .option(
      '--kubeconfig <file>',
      'kubeconfig to write (default: the first of $KUBECONFIG, else ~/.kube/config)',
    )
    .option('--context <name>', 'name of the context to write (default: USER@HOST)')
    .option('--namespace <name>', 'its namespace')
    .option('--forget', 'forget the tokens of all logins on this machine')
    .option('--exec-credential', "be kubectl's credential plugin")
    .action(action(login));
}

async function login(flags: LoginFlags): Promise<void> {
  if (flags.forget) return print(`${TokenCache.forgetAll()} tokens are forgotten.`);
  const method = methodOf(flags);
  const cluster = flags.execCredential ? execCluster(flags) : clusterFor(flags);
  if (flags.execCredential) {
    // What reads a cached token loads nothing else: it runs before each of kubectl's commands.
    const cache = cacheOf(flags, { method, cluster });
    return print(
      await execCredential(
        () => tokenFor(flags, { method, cluster, cache, interactive: isInteractive() }),
        cache,
      ),
    );
  }
  const methods = await import('./login/methods.ts');
  const resolved = methods.withDefaults(flags, method);
  const token = await methods.obtain(resolved, { method, cluster });
  cacheOf(resolved, { method, cluster }).write(token);
  const { context, path } = writeLogin(resolved, { method, cluster });
  process.stderr.write(
    `Logged in${token.who === undefined ? '' : ` as ${token.who}`} until ${token.expirationTimestamp}; context "${context}" of ${path} is the current one.\n`,
  );
}

function cacheOf(
  flags: LoginFlags,
  { method, cluster }: { readonly method: Method; readonly cluster: LoginCluster },
): TokenCache {
  return new TokenCache([
    cluster.server,
    method,
    flags.user ?? '',
    flags.oidcIssuerUrl ?? '',
    flags.oidcClientId ?? '',
  ]);
}

interface Needs {
  readonly method: Method;
  readonly cluster: LoginCluster;
  readonly cache: TokenCache;
  readonly interactive: boolean;
}

async function tokenFor(flags: LoginFlags, { method, cluster, cache, interactive }: Needs): Promise<Token> {
  const methods = await import('./login/methods.ts');
  const { refreshToken } = cache.read() ?? {};
  const refreshed =
    method === 'oidc' && refreshToken !== undefined ? await methods.refresh(flags, refreshToken) : undefined;
  if (refreshed) return refreshed;
  if (!interactive && method !== 'kerberos')
    throw new UserError(
      `The login at ${cluster.server} has ended. Log in again: capstan login --${method} --server ${cluster.server}${flags.user === undefined ? '' : ` --user ${flags.user}`}`,
    );
  return methods.obtain(flags, { method, cluster });
}

function methodOf(flags: LoginFlags): Method {
  const chosen = METHODS.filter((method) => flags[method] === true);
  if (chosen.length > 1) throw new UserError(`--${chosen.join(' and --')} exclude each other.`);
  const [method = 'basic'] = chosen;
  if (method === 'oidc' && (flags.oidcIssuerUrl === undefined || flags.oidcClientId === undefined))
    throw new UserError('--oidc needs --oidc-issuer-url and --oidc-client-id.');
  if (method !== 'oidc' && (flags.oidcIssuerUrl ?? flags.oidcClientId) !== undefined)
    throw new UserError('--oidc-issuer-url and --oidc-client-id go with --oidc.');
  return method;
}
