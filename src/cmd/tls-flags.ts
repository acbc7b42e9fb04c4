/** --tls-min-version and --tls-cipher-suites, with upstream's values: of the API server and of the kubelet API. */
import type { SecureVersion } from 'node:tls';
import { SECURE_SUITES, TLS13_SUITES } from '#stdx/tls-suites.ts';
import { UserError } from '#deploy/data-dir.ts';

interface TlsFlags {
  readonly tlsMinVersion?: string;
  readonly tlsCipherSuites?: readonly string[];
}

/** Empty: TLS 1.2 and the secure suites of it. */
export interface TlsSettings {
  readonly minVersion?: SecureVersion;
  readonly ciphers?: string;
}

const VERSIONS: Readonly<Record<string, SecureVersion>> = {
  VersionTLS12: 'TLSv1.2',
  VersionTLS13: 'TLSv1.3',
};
const OBSOLETE: readonly string[] = ['VersionTLS10', 'VersionTLS11'];

/** Throws a UserError for unknown or insecure names. */
export function tlsSettingsFrom({ tlsMinVersion, tlsCipherSuites }: TlsFlags): TlsSettings {
  const minVersion = tlsMinVersion === undefined ? undefined : VERSIONS[tlsMinVersion];
  if (tlsMinVersion !== undefined && !minVersion) {
    const why = OBSOLETE.includes(tlsMinVersion) ? ', which is not spoken any more' : '';
    throw new UserError(
      `--tls-min-version is "${tlsMinVersion}"${why}; it should be ${Object.keys(VERSIONS).join(' or ')}.`,
    );
  }
  return {
    ...(minVersion ? { minVersion } : {}),
    ...(tlsCipherSuites ? { ciphers: ciphersFrom(tlsCipherSuites) } : {}),
  };
}

function ciphersFrom(names: readonly string[]): string {
  const chosen = names
    .filter((name) => !TLS13_SUITES.includes(name))
    .map((name) => {
      if (Object.hasOwn(SECURE_SUITES, name)) return SECURE_SUITES[name]!;
      throw new UserError(
        `--tls-cipher-suites names "${name}", which is not offered: secure ones are ${Object.keys(SECURE_SUITES).join(', ')}.`,
      );
    });
  return [...TLS13_SUITES, ...chosen].join(':');
}
