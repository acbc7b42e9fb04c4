/** From a verified token's claims to a user: rules on claims, mappings by claim or expression, rules on the user. After upstream's OIDC authenticator. */
import type { JsonObject } from '#machinery/json.ts';
import type { UserInfo } from '#machinery/object.ts';
import type { Claims } from '#stdx/jwt.ts';
import { errorMessage } from '#stdx/log.ts';
import type { ClaimExpression } from './claim-expressions.ts';
import type { JwtConfiguration, PrefixedClaimOrExpression } from './configuration.ts';
import type { CompiledExpressions } from './validation.ts';

/** Throws an Error with upstream's text for claims that make no user, or none that is allowed. */
export function claimsToUser(
  claims: Claims,
  {
    configuration,
    expressions,
  }: { readonly configuration: JwtConfiguration; readonly expressions: CompiledExpressions },
): UserInfo {
  const { username = {}, groups = {}, uid: uidMapping = {} } = configuration.claimMappings;
  const name = expressions.username
    ? usernameByExpression(claims, expressions.username)
    : usernameByClaim(claims, username);
  const groupList = expressions.groups
    ? byExpression(claims, expressions.groups, 'group')
    : groupsByClaim(claims, groups);
  const uid = expressions.uid
    ? textByExpression(claims, expressions.uid, 'uid')
    : uidMapping.claim
      ? textClaim(claims, uidMapping.claim, 'uid')
      : '';
  const extra = Object.fromEntries(
    expressions.extra
      .map(({ key, expression }) => [key, byExpression(claims, expression, 'extra')] as const)
      .filter(([, values]) => values.length > 0),
  );
  checkClaims(claims, { configuration, expressions });
  const user: UserInfo = {
    name,
    groups: groupList,
    ...(uid ? { uid } : {}),
    ...(Object.keys(extra).length > 0 ? { extra } : {}),
  };
  checkUser(user, expressions);
  return user;
}

function usernameByClaim(claims: Claims, { claim = '', prefix = '' }: PrefixedClaimOrExpression): string {
  const name = claims[claim];
  if (name === undefined)
    throw new Error(`oidc: parse username claims ${JSON.stringify(claim)}: claim not present`);
  if (typeof name !== 'string')
    throw new Error(`oidc: parse username claims ${JSON.stringify(claim)}: ${cannotBe(name, 'string')}`);
  if (claim === 'email' && claims['email_verified'] !== undefined) {
    const verified = claims['email_verified'];
    if (typeof verified !== 'boolean')
      throw new Error(`oidc: parse 'email_verified' claim: ${cannotBe(verified, 'bool')}`);
    if (!verified) throw new Error('oidc: email not verified');
  }
  // An empty name would become a user with the bare prefix.
  if (name === '') throw new Error(`oidc: parse username claims ${JSON.stringify(claim)}: claim is empty`);
  return prefix + name;
}

function usernameByExpression(claims: Claims, expression: ClaimExpression): string {
  const name = evaluated(claims, expression, 'username');
  if (typeof name !== 'string')
    throw new Error(
      `oidc: error evaluating username claim expression: ${JSON.stringify(name)} is not a string`,
    );
  if (name === '') throw new Error('oidc: empty username via CEL expression is not allowed');
  return name;
}

function groupsByClaim(claims: Claims, { claim = '', prefix = '' }: PrefixedClaimOrExpression): string[] {
  const value = claim === '' ? undefined : claims[claim];
  if (value === undefined || value === null) return [];
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return list.map((group) => {
    if (typeof group !== 'string')
      throw new Error(`oidc: parse groups claim ${JSON.stringify(claim)}: ${cannotBe(group, 'string')}`);
    return prefix + group;
  });
}

function textClaim(claims: Claims, claim: string, what: string): string {
  const value = claims[claim];
  if (value === undefined)
    throw new Error(`oidc: parse ${what} claim ${JSON.stringify(claim)}: claim not present`);
  if (typeof value !== 'string')
    throw new Error(`oidc: parse ${what} claim ${JSON.stringify(claim)}: ${cannotBe(value, 'string')}`);
  return value;
}

function textByExpression(claims: Claims, expression: ClaimExpression, what: string): string {
  const value = evaluated(claims, expression, what);
  if (typeof value !== 'string')
    throw new Error(
      `oidc: error evaluating ${what} claim expression: ${JSON.stringify(value)} is not a string`,
    );
  return value;
}

/** Texts and lists of texts; '', [] and null are nothing. */
function byExpression(claims: Claims, expression: ClaimExpression, what: string): string[] {
  const value = evaluated(claims, expression, what);
  if (value === null || value === undefined || value === '') return [];
  if (typeof value === 'string') return [value];
  if (!Array.isArray(value))
    throw new Error(
      `oidc: error evaluating ${what} claim expression: ${JSON.stringify(value)} is neither a string nor a list of strings`,
    );
  return value
    .filter((item) => item !== '' && item !== null)
    .map((item) => {
      if (typeof item !== 'string')
        throw new Error(
          `oidc: error evaluating ${what} claim expression: ${JSON.stringify(item)} in the list is not a string`,
        );
      return item;
    });
}

function evaluated(claims: Claims, expression: ClaimExpression, what: string): unknown {
  try {
    return expression.evaluate(claims as JsonObject);
  } catch (error) {
    throw new Error(`oidc: error evaluating ${what} claim expression: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}

function checkClaims(
  claims: Claims,
  {
    configuration,
    expressions,
  }: { readonly configuration: JwtConfiguration; readonly expressions: CompiledExpressions },
): void {
  for (const { claim, requiredValue = '' } of configuration.claimValidationRules ?? []) {
    if (!claim) continue;
    const value = claims[claim];
    if (value === undefined) throw new Error(`oidc: required claim ${claim} not present in ID token`);
    if (typeof value !== 'string')
      throw new Error(`oidc: parse claim ${claim}: ${cannotBe(value, 'string')}`);
    if (value !== requiredValue)
      throw new Error(
        `oidc: required claim ${claim} value does not match. Got = ${value}, want = ${requiredValue}`,
      );
  }
  for (const { source, message, expression } of expressions.claimRules) {
    checkRule({ source, message, what: 'claim validation' }, () => expression.evaluate(claims as JsonObject));
  }
}

function checkUser({ name, groups, uid, extra }: UserInfo, { userRules }: CompiledExpressions): void {
  if (userRules.length === 0) return;
  const user: JsonObject = {
    username: name,
    groups: [...groups],
    ...(uid ? { uid } : {}),
    ...(extra
      ? { extra: Object.fromEntries(Object.entries(extra).map(([key, values]) => [key, [...values]])) }
      : {}),
  };
  for (const { source, message, expression } of userRules)
    checkRule({ source, message, what: 'user info validation rule' }, () => expression.evaluate(user));
}

function checkRule(
  { source, message, what }: { readonly source: string; readonly message: string; readonly what: string },
  evaluate: () => unknown,
): void {
  let result: unknown;
  try {
    result = evaluate();
  } catch (error) {
    throw new Error(`oidc: error evaluating ${what}: ${errorMessage(error)}`, { cause: error });
  }
  if (result !== true)
    throw new Error(
      `oidc: error evaluating ${what}: validation expression '${source}' failed${message ? `: ${message}` : ''}`,
    );
}

function cannotBe(value: unknown, type: string): string {
  const kind = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
  return `json: cannot unmarshal ${kind} into Go value of type ${type}`;
}
