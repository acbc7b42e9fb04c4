/**
 * AuthenticationConfiguration (apiserver.config.k8s.io) as data: its form, reading it strictly from YAML, and the same made from the flags
 * --oidc-*. What values may be is validation.ts.
 */
import { configKind, readConfig } from '#machinery/config/read.ts';
import { flag, listOf, struct, text } from '#machinery/config/schema.ts';
import { SIGNING_ALGORITHMS, type SigningAlgorithm } from '#stdx/jwt.ts';

export interface Issuer {
  readonly url: string;
  readonly discoveryURL?: string;
  /** PEM. */
  readonly certificateAuthority?: string;
  readonly audiences?: readonly string[];
  readonly audienceMatchPolicy?: string;
  readonly egressSelectorType?: string;
}

export interface PrefixedClaimOrExpression {
  readonly claim?: string;
  readonly prefix?: string;
  readonly expression?: string;
}

export interface ClaimMappings {
  readonly username?: PrefixedClaimOrExpression;
  readonly groups?: PrefixedClaimOrExpression;
  readonly uid?: { readonly claim?: string; readonly expression?: string };
  readonly extra?: readonly { readonly key?: string; readonly valueExpression?: string }[];
}

interface ClaimValidationRule {
  readonly claim?: string;
  readonly requiredValue?: string;
  readonly expression?: string;
  readonly message?: string;
}
interface UserValidationRule {
  readonly expression?: string;
  readonly message?: string;
}

export interface JwtConfiguration {
  readonly issuer: Issuer;
  readonly claimValidationRules?: readonly ClaimValidationRule[];
  readonly claimMappings: ClaimMappings;
  readonly userValidationRules?: readonly UserValidationRule[];
  /** Not part of the file: --oidc-signing-algs. Absent = all there are. */
  readonly signingAlgorithms?: readonly SigningAlgorithm[];
}

export interface AuthenticationConfiguration {
  readonly jwt?: readonly JwtConfiguration[];
  readonly anonymous?:
    | {
        readonly enabled?: boolean;
        readonly conditions?: readonly { readonly path: string }[];
      }
    | undefined;
}

// ------------------------------------------------------------------------------------------------------------------ form

const MAPPING = struct('PrefixedClaimOrExpression', { claim: text, prefix: text, expression: text });

const AUTHENTICATION = configKind(
  {
    group: 'apiserver.config.k8s.io',
    versions: ['v1', 'v1beta1', 'v1alpha1'],
    kind: 'AuthenticationConfiguration',
  },
  {
    jwt: listOf(
      struct('JWTAuthenticator', {
        issuer: struct('Issuer', {
          url: text,
          discoveryURL: text,
          certificateAuthority: text,
          audiences: listOf(text),
          audienceMatchPolicy: text,
          egressSelectorType: text,
        }),
        claimValidationRules: listOf(
          struct('ClaimValidationRule', {
            claim: text,
            requiredValue: text,
            expression: text,
            message: text,
          }),
        ),
        claimMappings: struct('ClaimMappings', {
          username: MAPPING,
          groups: MAPPING,
          uid: struct('ClaimOrExpression', { claim: text, expression: text }),
          extra: listOf(struct('ExtraMapping', { key: text, valueExpression: text })),
        }),
        userValidationRules: listOf(struct('UserValidationRule', { expression: text, message: text })),
      }),
    ),
    anonymous: struct('AnonymousAuthConfig', {
      enabled: flag,
      conditions: listOf(struct('AnonymousAuthCondition', { path: text })),
    }),
  },
);

/** Throws an Error for an invalid file: other kinds, unknown fields, values of a wrong type. */
export function readConfiguration(content: string): AuthenticationConfiguration {
  if (content.trim() === '') throw new Error('empty config data');
  const { jwt, anonymous } = readConfig<AuthenticationConfiguration>(content, [AUTHENTICATION]);
  return {
    ...(jwt
      ? {
          jwt: jwt.map((one) => ({
            ...one,
            issuer: one.issuer ?? { url: '' },
            claimMappings: one.claimMappings ?? {},
          })),
        }
      : {}),
    anonymous,
  };
}

// ----------------------------------------------------------------------------------------------------------------- flags

/** Values of the flags of the same names. */
export interface OidcFlags {
  readonly oidcIssuerUrl?: string;
  readonly oidcClientId?: string;
  readonly oidcUsernameClaim?: string;
  readonly oidcUsernamePrefix?: string;
  readonly oidcGroupsClaim?: string;
  readonly oidcGroupsPrefix?: string;
  /** 'key=value' each. */
  readonly oidcRequiredClaim?: readonly string[];
  readonly oidcSigningAlgs?: readonly string[];
}

/** undefined when none of the flags is set. Throws an Error for conflicting flags. certificateAuthority: content of --oidc-ca-file. */
export function configurationFromFlags(
  flags: OidcFlags,
  certificateAuthority?: string,
): AuthenticationConfiguration | undefined {
  const { oidcIssuerUrl: url, oidcClientId: clientId } = flags;
  const isAnySet =
    certificateAuthority !== undefined || Object.values(flags).some((value) => value !== undefined);
  if (!isAnySet) return undefined;
  if (!url || !clientId)
    throw new Error(
      'oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set',
    );
  const { oidcGroupsClaim, oidcGroupsPrefix = '' } = flags;
  return {
    jwt: [
      {
        issuer: { url, audiences: [clientId], ...(certificateAuthority ? { certificateAuthority } : {}) },
        claimMappings: {
          username: usernameMapping(url, flags),
          ...(oidcGroupsClaim ? { groups: { claim: oidcGroupsClaim, prefix: oidcGroupsPrefix } } : {}),
        },
        claimValidationRules: (flags.oidcRequiredClaim ?? []).map(requiredClaim),
        signingAlgorithms: (flags.oidcSigningAlgs ?? ['RS256']).map(signingAlgorithm),
      },
    ],
  };
}

/** Without a prefix, names other than e-mail addresses get the issuer's, so that users of different issuers cannot collide; '-' = none. */
function usernameMapping(
  issuer: string,
  { oidcUsernameClaim: claim = 'sub', oidcUsernamePrefix: prefix = '' }: OidcFlags,
): PrefixedClaimOrExpression {
  if (prefix === '-') return { claim, prefix: '' };
  return { claim, prefix: prefix === '' && claim !== 'email' ? `${issuer}#` : prefix };
}

function requiredClaim(pair: string): ClaimValidationRule {
  const mark = pair.indexOf('=');
  if (mark < 1)
    throw new Error(`invalid oidc-required-claim ${JSON.stringify(pair)}: it should be CLAIM=VALUE`);
  return { claim: pair.slice(0, mark).trim(), requiredValue: pair.slice(mark + 1).trim() };
}

function signingAlgorithm(name: string): SigningAlgorithm {
  const found = SIGNING_ALGORITHMS.find((algorithm) => algorithm === name);
  if (!found) throw new Error(`oidc: unsupported signing alg: ${JSON.stringify(name)}`);
  return found;
}
