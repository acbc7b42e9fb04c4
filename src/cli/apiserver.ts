/** `capstan apiserver`: its flags have upstream's names where they mean the same; upstream's others are refused by name. */
import { Option, type Command } from 'commander';
import { UserError } from '#deploy/data-dir.ts';
import type { ApiServerFlags } from '#cmd/apiserver/run.ts';
import { authenticationOptions } from './authentication-options.ts';
import { AUDIT_FLAGS } from '#cmd/apiserver/flags/audit.ts';
import { REQUEST_LIMIT_FLAGS } from '#cmd/apiserver/flags/request-limits.ts';
import { list, loggingOptions, tlsOptions, yesOrNo } from './component-options.ts';
import { action, wholeNumber } from './context.ts';

/** Upstream flags that someone may bring along, and why they do nothing here. */
const REFUSED: Readonly<Record<string, string>> = {
  'etcd-compaction-interval':
    "history is not compacted from here yet: use etcd's --auto-compaction-retention",
  'storage-backend': 'use --storage lmdb or --storage memory',
  'allow-privileged': 'privileged pods are held back by namespace: see PodSecurity in docs/admission.md',
  'insecure-bind-address': 'the API is served over TLS only: use --bind-address',
  'insecure-port': 'the API is served over TLS only: use --secure-port',
  'egress-selector-config-file': 'egress selection is not supported',
  'service-account-signing-endpoint': 'tokens are signed here: use --service-account-signing-key-file',
  'service-account-lookup': 'the objects of a token are always looked at',
};

/** What an authenticating proxy says who is asking by. */
const REQUEST_HEADERS: Readonly<Record<string, string>> = {
  'requestheader-allowed-names':
    "names its certificate may have (default: any, or front-proxy-client with the data directory's authority)",
  'requestheader-username-headers': 'headers with the user (default: X-Remote-User)',
  'requestheader-uid-headers':
    "headers with the user's UID (default: X-Remote-Uid of the data directory's own proxy, none of another)",
  'requestheader-group-headers': 'headers with a group (default: X-Remote-Group)',
  'requestheader-extra-headers-prefix':
    'how headers with more about the user begin (default: X-Remote-Extra-)',
};

export function register(program: Command): void {
  defineApiServer(program).action(
    action(async (flags: ApiServerFlags) => (await import('#cmd/apiserver/run.ts')).runApiServer(flags)),
  );
}

/** The command with all its flags, which `up --apiserver-arg` reads too. */
export function defineApiServer(program: Command): Command {
  const command = program.command('apiserver').description('run the API server by itself');
  const strings: Readonly<Record<string, string>> = {
    '--data-dir <dir>': 'keep everything here: store, certificates, kubeconfigs (made when missing)',
    '--storage-dir <dir>': "the store's directory (default: DIR/store)",
    '--bind-address <address>': 'address to listen on (default: 127.0.0.1 with --data-dir, else 0.0.0.0)',
    '--advertise-address <address>':
      "where clients inside the cluster reach it (default: the bind address; of 0.0.0.0 and :: the default route's)",
    '--service-cluster-ip-range <range>': 'addresses of services (default: 10.96.0.0/16)',
    '--service-node-port-range <from-to>': 'node ports of services (default: 30000-32767)',
    '--tls-cert-file <file>': 'serving certificate (default: DIR/pki/apiserver.crt)',
    '--tls-private-key-file <file>': 'its key',
    '--client-ca-file <file>': 'authority of client certificates (default: DIR/pki/ca.crt)',
    '--service-account-signing-key-file <file>':
      'key that signs service account tokens (default: DIR/pki/sa.key)',
    '--service-account-jwks-uri <uri>': "where the tokens' keys are published",
    '--kubelet-client-certificate <file>': 'shown to nodes (default: DIR/pki/apiserver-kubelet-client.crt)',
    '--kubelet-client-key <file>': 'its key',
    '--basic-auth-file <file>':
      'passwords: a CSV of "HASH",user,uid,"group1,group2" (see: capstan user hash-password)',
    '--ldap-config <file>':
      'a directory whose users may log in: YAML of kind LDAPAuthenticationConfiguration',
    '--kerberos-keytab <file>':
      "the service's key: lets holders of Kerberos tickets in (Authorization: Negotiate)",
    '--kerberos-service <name>': 'service that tickets must be for: HTTP or HTTP@HOST (default: HTTP)',
    '--session-signing-key-file <file>':
      'key that signs the tokens of capstan login (default: DIR/pki/session.key)',
    '--session-lifetime <duration>': 'longest life of such a token (default: 1h)',
    '--proxy-client-cert-file <file>':
      'shown to extension API servers (default: DIR/pki/front-proxy-client.crt)',
    '--proxy-client-key-file <file>': 'its key',
    '--requestheader-client-ca-file <file>':
      'authority of proxies whose X-Remote-* headers are believed (default: DIR/pki/front-proxy-ca.crt)',
    '--runtime-config <settings>':
      'versions and resources to serve: api/beta=true, storage.k8s.io/v1beta1=true, ...',
    '--event-ttl <duration>': 'how long events are kept after their last write (default: 1h)',
    '--feature-gates <settings>':
      'switches of features: CBORServingAndStorage=true, ConstrainedImpersonation=false, StorageVersionMigrator=true',
    '--encryption-provider-config <file>':
      'keys and providers of encryption at rest: YAML of kind EncryptionConfiguration',
    '--etcd-prefix <prefix>': 'what all keys in etcd begin with (default: /registry)',
    '--etcd-cafile <file>': 'authority of the certificates of etcd',
    '--etcd-certfile <file>': 'client certificate shown to etcd',
    '--etcd-keyfile <file>': 'its key',
    '--token-auth-file <file>': 'bearer tokens: a CSV of token,user,uid,"group1,group2"',
  };
  command.addOption(
    new Option('--storage <driver>', 'where objects are kept; memory loses them at the end')
      .choices(['lmdb', 'memory'])
      .default('lmdb'),
  );
  command.addOption(
    new Option('--secure-port <n>', 'port to listen on (default: 6443)').argParser(
      wholeNumber('secure-port', { min: 1, max: 65535 }),
    ),
  );
  command.addOption(
    new Option(
      '--apiserver-cert-extra-sans <names>',
      'further DNS names and IP addresses for the serving certificate in DIR/pki; may be given several times',
    ).argParser(list),
  );
  for (const [flag, text] of Object.entries({ ...strings, ...REQUEST_LIMIT_FLAGS, ...AUDIT_FLAGS }))
    command.option(flag, text);
  command
    .addOption(
      new Option(
        '--service-account-key-file <file>',
        'further public keys whose tokens are accepted; may be given several times',
      ).argParser(list),
    )
    .addOption(
      new Option(
        '--service-account-issuer <url>',
        'issuer of tokens, the first issues; may be given several times',
      ).argParser(list),
    )
    .addOption(
      new Option(
        '--etcd-servers <urls>',
        'experimental: keep objects in this etcd in place of --storage: https://10.0.0.1:2379,...',
      ).argParser(list),
    )
    .addOption(
      new Option('--api-audiences <names>', 'audiences of tokens (default: the issuers)').argParser(list),
    )
    .addOption(
      new Option(
        '--authorization-mode <modes>',
        'in the order asked: Node, RBAC, ABAC, Webhook, AlwaysAllow, AlwaysDeny (default: Node,RBAC)',
      ).argParser(list),
    )
    .addOption(new Option('--authorization-policy-file <file>', 'policies of ABAC: one JSON object a line'))
    .addOption(
      new Option(
        '--authorization-config <file>',
        'authorizers from a file of kind AuthorizationConfiguration, followed while running',
      ),
    )
    .addOption(
      new Option(
        '--authorization-webhook-config-file <file>',
        'kubeconfig of the server that mode Webhook asks',
      ),
    )
    .addOption(
      new Option(
        '--authorization-webhook-version <version>',
        'of the SubjectAccessReview it is sent: v1 or v1beta1 (default: v1beta1)',
      ),
    )
    .addOption(
      new Option(
        '--authorization-webhook-cache-authorized-ttl <duration>',
        'how long its yes is remembered (default: 5m)',
      ),
    )
    .addOption(
      new Option(
        '--authorization-webhook-cache-unauthorized-ttl <duration>',
        'how long its no is remembered (default: 30s)',
      ),
    )
    .addOption(
      new Option(
        '--anonymous-auth [true|false]',
        'let requests without credentials in as system:anonymous (default: true)',
      )
        .argParser(yesOrNo('anonymous-auth'))
        .preset('true'),
    )
    .addOption(
      new Option(
        '--enable-admission-plugins <names>',
        'admission plugins to run besides those that are on by default',
      ).argParser(list),
    )
    .addOption(
      new Option('--disable-admission-plugins <names>', 'admission plugins to leave out').argParser(list),
    )
    .addOption(
      new Option(
        '--admission-control-config-file <file>',
        'configuration of admission plugins: YAML of kind AdmissionConfiguration',
      ),
    );
  command.addOption(
    new Option(
      '--kerberos-name-mapping <pattern=name>',
      'RE2 over USER@REALM and the name it becomes; may be given several times, the first that matches counts',
    ).argParser(collect),
  );
  command.addOption(
    new Option(
      '--kerberos-groups-from-ldap [true|false]',
      'look up the groups of Kerberos users in the LDAP directory',
    )
      .argParser(yesOrNo('kerberos-groups-from-ldap'))
      .preset('true'),
  );
  command.addOption(
    new Option(
      '--profiling [true|false]',
      'let cluster admins take profiles of the server at /debug/pprof (default: true)',
    )
      .argParser(yesOrNo('profiling'))
      .preset('true'),
  );
  authenticationOptions(command);
  tlsOptions(command);
  command.addOption(
    new Option('--encryption-provider-config-automatic-reload [true|false]', 'follow changes of that file')
      .argParser(yesOrNo('encryption-provider-config-automatic-reload'))
      .preset('true'),
  );
  for (const [name, text] of Object.entries(REQUEST_HEADERS))
    command.addOption(new Option(`--${name} <names>`, text).argParser(list));
  command.addOption(
    new Option(
      '--enable-aggregator-routing [true|false]',
      "reach extension API servers by their Service's endpoints rather than its cluster address (default: true)",
    )
      .argParser(yesOrNo('enable-aggregator-routing'))
      .preset('true'),
  );
  for (const [name, why] of Object.entries(REFUSED)) {
    command.addOption(new Option(`--${name} [value]`).hideHelp().argParser(refuse(name, why)).preset(''));
  }
  return loggingOptions(command);
}

/** Values with commas in them. */
function collect(text: string, before: readonly string[] = []): string[] {
  return [...before, text];
}

/** Values of these that ask for what holds anyhow. */
const GRANTED: Readonly<Record<string, string>> = {
  'allow-privileged': 'true',
  'service-account-lookup': 'true',
  'insecure-port': '0',
};

function refuse(name: string, why: string): (value: string) => string {
  return (value) => {
    if (GRANTED[name] === value) return value;
    throw new UserError(`--${name} is refused: ${why}.`);
  };
}
