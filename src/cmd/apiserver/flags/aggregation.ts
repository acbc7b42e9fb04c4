/** Flags of extension API servers, and of an authenticating proxy in front of this one: the same certificates seen from both sides. Upstream's names. */
import type { AggregationSettings } from '#apiserver/aggregation/aggregator.ts';
import type { RequestHeaderOptions } from '#apiserver/authn/certificates.ts';
import type { PublishedRequestHeader } from '#apiserver/bootstrap/authentication-config.ts';
import type { Pki } from '#deploy/pki/pki.ts';
import { UserError } from '#deploy/data-dir.ts';
import { readFlags, type GivenFlags } from '../../flags/define.ts';
import { AGGREGATION_FLAGS } from '../flags.ts';

type AggregationFlags = GivenFlags<typeof AGGREGATION_FLAGS>;

export interface AggregationFromFlags {
  readonly requestHeader?: PublishedRequestHeader;
  readonly aggregation?: AggregationSettings;
}

const HEADERS = {
  usernameHeaders: ['X-Remote-User'],
  uidHeaders: ['X-Remote-Uid'],
  groupHeaders: ['X-Remote-Group'],
  extraHeaderPrefixes: ['X-Remote-Extra-'],
};

/** Of a cluster's own certificates, in the absence of flags. */
export function aggregationOfPki(
  pki: Partial<Pick<Pki, 'frontProxyCa'>> & {
    readonly clients: Partial<Pick<Pki['clients'], 'front-proxy-client'>>;
  },
): AggregationFromFlags {
  const client = pki.clients['front-proxy-client'];
  return {
    ...(pki.frontProxyCa
      ? {
          requestHeader: {
            ca: pki.frontProxyCa.certificatePem,
            allowedNames: ['front-proxy-client'],
            ...HEADERS,
          },
        }
      : {}),
    ...(client ? { aggregation: { proxyClient: { cert: client.certificatePem, key: client.keyPem } } } : {}),
  };
}

/** Flags win over the data directory's certificates. readPem: reads a file for a flag, or throws a UserError. */
export function aggregationFrom(
  flags: AggregationFlags,
  { pki, readPem }: { readonly pki: Pki | undefined; readPem(flag: string, path: string): string },
): AggregationFromFlags {
  const own = pki ? aggregationOfPki(pki) : {};
  const { proxyClientCertFile, proxyClientKeyFile, enableAggregatorRouting, requestheaderClientCaFile } =
    readFlags(AGGREGATION_FLAGS, flags);
  if ((proxyClientCertFile === undefined) !== (proxyClientKeyFile === undefined))
    throw new UserError(
      '--proxy-client-cert-file and --proxy-client-key-file go together: give both or neither.',
    );
  const proxyClient =
    proxyClientCertFile !== undefined && proxyClientKeyFile !== undefined
      ? {
          cert: readPem('--proxy-client-cert-file', proxyClientCertFile),
          key: readPem('--proxy-client-key-file', proxyClientKeyFile),
        }
      : own.aggregation?.proxyClient;
  const ca =
    requestheaderClientCaFile === undefined
      ? own.requestHeader?.ca
      : readPem('--requestheader-client-ca-file', requestheaderClientCaFile);
  const named = Object.entries(HEADER_FLAGS).find(
    ([name]) => flags[name as keyof typeof HEADER_FLAGS] !== undefined,
  );
  if (ca === undefined && named)
    throw new UserError(
      `${named[1]} needs --requestheader-client-ca-file: without it no proxy's headers are believed.`,
    );
  const requestHeader =
    ca === undefined
      ? undefined
      : {
          ca,
          // As upstream, a CA that was named is for any name unless names are given.
          allowedNames:
            flags.requestheaderAllowedNames ??
            (requestheaderClientCaFile === undefined ? (own.requestHeader?.allowedNames ?? []) : []),
          usernameHeaders: flags.requestheaderUsernameHeaders ?? HEADERS.usernameHeaders,
          // A proxy may forward headers it does not know: as upstream, the header must be set by this proxy.
          uidHeaders:
            flags.requestheaderUidHeaders ??
            (requestheaderClientCaFile === undefined ? HEADERS.uidHeaders : []),
          groupHeaders: flags.requestheaderGroupHeaders ?? HEADERS.groupHeaders,
          extraHeaderPrefixes: flags.requestheaderExtraHeadersPrefix ?? HEADERS.extraHeaderPrefixes,
        };
  return {
    ...(requestHeader ? { requestHeader } : {}),
    aggregation: {
      proxyClient,
      endpointRouting: enableAggregatorRouting,
    },
  };
}

const HEADER_FLAGS = {
  requestheaderAllowedNames: '--requestheader-allowed-names',
  requestheaderUsernameHeaders: '--requestheader-username-headers',
  requestheaderUidHeaders: '--requestheader-uid-headers',
  requestheaderGroupHeaders: '--requestheader-group-headers',
  requestheaderExtraHeadersPrefix: '--requestheader-extra-headers-prefix',
} as const;

/** For the authenticator, which sees header names in lower case. */
export function requestHeaderOptions({
  allowedNames,
  usernameHeaders,
  uidHeaders,
  groupHeaders,
  extraHeaderPrefixes,
}: PublishedRequestHeader): RequestHeaderOptions {
  const lower = (names: readonly string[]): string[] => names.map((name) => name.toLowerCase());
  return {
    allowedNames,
    usernameHeaders: lower(usernameHeaders),
    uidHeaders: lower(uidHeaders),
    groupHeaders: lower(groupHeaders),
    extraHeaderPrefixes: lower(extraHeaderPrefixes),
  };
}
