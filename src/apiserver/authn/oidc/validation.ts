/** What an AuthenticationConfiguration may say, with upstream's field paths and messages; and its expressions, compiled. */
import { fieldErrors, type FieldError } from '#machinery/errors.ts';
import { certificatesIn } from '#pki/pem.ts';
import { domainPathProblems } from './domain-path.ts';
import type { ClaimExpression, ExpressionCompiler } from './claim-expressions.ts';
import type {
  AuthenticationConfiguration,
  ClaimMappings,
  Issuer,
  JwtConfiguration,
  PrefixedClaimOrExpression,
} from './configuration.ts';

const MAX_AUTHENTICATORS = 64;

/** The expressions of one authenticator; undefined where a claim is named instead. */
export interface CompiledExpressions {
  username?: ClaimExpression;
  groups?: ClaimExpression;
  uid?: ClaimExpression;
  readonly extra: { readonly key: string; readonly expression: ClaimExpression }[];
  readonly claimRules: {
    readonly source: string;
    readonly message: string;
    readonly expression: ClaimExpression;
  }[];
  readonly userRules: {
    readonly source: string;
    readonly message: string;
    readonly expression: ClaimExpression;
  }[];
}

interface ValidationOptions {
  /** Issuers whose tokens other authenticators are for: those of service accounts. */
  readonly disallowedIssuers: readonly string[];
  /** Absent: the configuration is known to have no expressions. */
  readonly compiler?: ExpressionCompiler | undefined;
}

interface Validated {
  readonly errors: readonly FieldError[];
  readonly expressions: readonly CompiledExpressions[];
}

export function validateConfiguration(
  configuration: AuthenticationConfiguration,
  options: ValidationOptions,
): Validated {
  const { jwt = [], anonymous } = configuration;
  if (jwt.length > MAX_AUTHENTICATORS)
    return { errors: [fieldErrors.tooMany('jwt', jwt.length, MAX_AUTHENTICATORS)], expressions: [] };
  const errors: FieldError[] = [];
  const issuers = new Set<string>(),
    discoveries = new Set<string>();
  const expressions = jwt.map((one, index) => {
    const validation = new Validation(options, errors);
    const compiled = validation.authenticator(one, `jwt[${index}]`);
    const { url, discoveryURL } = one.issuer;
    if (issuers.has(url)) errors.push(fieldErrors.duplicate(`jwt[${index}].issuer.url`, url));
    issuers.add(url);
    if (discoveryURL && discoveries.has(discoveryURL))
      errors.push(fieldErrors.duplicate(`jwt[${index}].issuer.discoveryURL`, discoveryURL));
    if (discoveryURL) discoveries.add(discoveryURL);
    return compiled;
  });
  if (anonymous && !anonymous.enabled && anonymous.conditions?.length) {
    errors.push(
      fieldErrors.invalid(
        'anonymous.conditions',
        anonymous.conditions,
        'enabled should be set to true when conditions are defined',
      ),
    );
  }
  return { errors, expressions };
}

/** Whether there is anything to compile. */
export function hasExpressions({ jwt = [] }: AuthenticationConfiguration): boolean {
  return jwt.some(
    ({
      claimMappings: { username, groups, uid, extra },
      claimValidationRules = [],
      userValidationRules = [],
    }) =>
      [username, groups, uid].some((mapping) => mapping?.expression) ||
      (extra?.length ?? 0) > 0 ||
      claimValidationRules.some(({ expression }) => expression) ||
      userValidationRules.length > 0,
  );
}

interface Source {
  readonly path: string;
  readonly source: string;
  readonly variable: 'claims' | 'user';
  readonly result: 'bool' | 'any';
}

class Validation {
  readonly #options: ValidationOptions;
  readonly #errors: FieldError[];
  #usesEmail = false;
  #usesEmailVerified = false;

  constructor(options: ValidationOptions, errors: FieldError[]) {
    this.#options = options;
    this.#errors = errors;
  }

  authenticator(configuration: JwtConfiguration, path: string): CompiledExpressions {
    const compiled: CompiledExpressions = { extra: [], claimRules: [], userRules: [] };
    this.#issuer(configuration.issuer, `${path}.issuer`);
    this.#claimRules(configuration, { path: `${path}.claimValidationRules`, compiled });
    this.#mappings(configuration.claimMappings, { path: `${path}.claimMappings`, compiled });
    this.#userRules(configuration, { path: `${path}.userValidationRules`, compiled });
    return compiled;
  }

  #invalid(path: string, value: unknown, detail: string): void {
    this.#errors.push(fieldErrors.invalid(path, value, detail));
  }

  #required(path: string, detail = ''): void {
    this.#errors.push(fieldErrors.required(path, detail));
  }

  #issuer(
    {
      url,
      discoveryURL,
      audiences = [],
      audienceMatchPolicy = '',
      certificateAuthority,
      egressSelectorType,
    }: Issuer,
    path: string,
  ): void {
    const { disallowedIssuers } = this.#options;
    if (url === '' || url === undefined) this.#required(`${path}.url`);
    else {
      if (disallowedIssuers.includes(url))
        this.#invalid(
          `${path}.url`,
          url,
          `URL must not overlap with disallowed issuers: [${disallowedIssuers.toSorted().join(' ')}]`,
        );
      this.#url(url, `${path}.url`);
    }
    if (discoveryURL) {
      if (url && trimmed(url) === trimmed(discoveryURL))
        this.#invalid(`${path}.discoveryURL`, discoveryURL, 'discoveryURL must be different from URL');
      this.#url(discoveryURL, `${path}.discoveryURL`);
    }
    this.#audiences(audiences, { policy: audienceMatchPolicy, path });
    if (certificateAuthority) this.#certificates(certificateAuthority, `${path}.certificateAuthority`);
    if (egressSelectorType)
      this.#invalid(`${path}.egressSelectorType`, egressSelectorType, 'egress selection is not supported');
  }

  #url(url: string, path: string): void {
    if (!URL.canParse(url)) return this.#invalid(path, url, `parse ${JSON.stringify(url)}: invalid URL`);
    const { protocol, username, password, search, hash } = new URL(url);
    if (protocol !== 'https:') this.#invalid(path, url, 'URL scheme must be https');
    if (username !== '' || password !== '')
      this.#invalid(path, url, 'URL must not contain a username or password');
    if (search !== '') this.#invalid(path, url, 'URL must not contain a query');
    if (hash !== '') this.#invalid(path, url, 'URL must not contain a fragment');
  }

  #audiences(
    audiences: readonly string[],
    { policy, path }: { readonly policy: string; readonly path: string },
  ): void {
    if (audiences.length === 0)
      return this.#required(`${path}.audiences`, `at least one ${path}.audiences is required`);
    audiences.forEach((audience, index) => {
      if (audience === '') this.#required(`${path}.audiences[${index}]`);
      if (audiences.indexOf(audience) < index)
        this.#errors.push(fieldErrors.duplicate(`${path}.audiences[${index}]`, audience));
    });
    if (policy === 'MatchAny') return;
    if (audiences.length > 1)
      this.#invalid(
        `${path}.audienceMatchPolicy`,
        policy,
        'audienceMatchPolicy must be MatchAny for multiple audiences',
      );
    else if (policy !== '')
      this.#invalid(
        `${path}.audienceMatchPolicy`,
        policy,
        'audienceMatchPolicy must be empty or MatchAny for single audience',
      );
  }

  #certificates(pem: string, path: string): void {
    try {
      if (certificatesIn(pem).length === 0)
        this.#invalid(path, '<omitted>', 'data does not contain any valid RSA or ECDSA certificates');
    } catch (error) {
      this.#invalid(path, '<omitted>', (error as Error).message);
    }
  }

  #claimRules(
    { claimValidationRules = [] }: JwtConfiguration,
    { path, compiled }: { readonly path: string; readonly compiled: CompiledExpressions },
  ): void {
    const claims = new Set<string>(),
      sources = new Set<string>();
    for (const [
      index,
      { claim = '', requiredValue = '', expression: source = '', message = '' },
    ] of claimValidationRules.entries()) {
      const at = `${path}[${index}]`;
      if (claim && source) this.#invalid(at, claim, "claim and expression can't both be set");
      else if (!claim && !source) this.#required(at, 'claim or expression is required');
      else if (claim) {
        if (message) this.#invalid(`${at}.message`, message, 'may not be specified when claim is set');
        if (claims.has(claim)) this.#errors.push(fieldErrors.duplicate(`${at}.claim`, claim));
        claims.add(claim);
      } else {
        if (requiredValue)
          this.#invalid(`${at}.requiredValue`, requiredValue, 'may not be specified when expression is set');
        const expression = this.#once(sources, {
          path: `${at}.expression`,
          source,
          variable: 'claims',
          result: 'bool',
        });
        if (expression) compiled.claimRules.push({ source, message, expression });
        if (expression?.uses('email_verified')) this.#usesEmailVerified = true;
      }
    }
  }

  #mappings(
    { username = {}, groups = {}, uid = {}, extra = [] }: ClaimMappings,
    { path, compiled }: { readonly path: string; readonly compiled: CompiledExpressions },
  ): void {
    const named = this.#mapping(username, { path: `${path}.username`, isRequired: true });
    if (named) {
      compiled.username = named;
      this.#usesEmail ||= named.uses('email');
      this.#usesEmailVerified ||= named.uses('email_verified');
    }
    const grouped = this.#mapping(groups, { path: `${path}.groups`, isRequired: false });
    if (grouped) compiled.groups = grouped;
    if (uid.claim && uid.expression)
      this.#invalid(`${path}.uid`, '', "claim and expression can't both be set");
    else if (uid.expression) {
      const expression = this.#compile({
        path: `${path}.uid.expression`,
        source: uid.expression,
        variable: 'claims',
        result: 'any',
      });
      if (expression) compiled.uid = expression;
    }
    this.#extra(extra, { path: `${path}.extra`, compiled });
    if (this.#usesEmail && !this.#usesEmailVerified) {
      this.#invalid(
        `${path}.username.expression`,
        username.expression,
        'claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression',
      );
    }
  }

  #mapping(
    { claim, prefix, expression }: PrefixedClaimOrExpression,
    { path, isRequired }: { readonly path: string; readonly isRequired: boolean },
  ): ClaimExpression | undefined {
    if (claim && expression) this.#invalid(path, '', "claim and expression can't both be set");
    else if (!claim && !expression) {
      if (isRequired) this.#required(path, 'claim or expression is required');
    } else if (expression) {
      if (prefix !== undefined)
        this.#invalid(`${path}.prefix`, prefix, 'may not be specified when expression is set');
      return this.#compile({
        path: `${path}.expression`,
        source: expression,
        variable: 'claims',
        result: 'any',
      });
    } else if (prefix === undefined)
      this.#required(
        `${path}.prefix`,
        'prefix is required when claim is set. It can be set to an empty string to disable prefixing',
      );
    return undefined;
  }

  #extra(
    extra: NonNullable<ClaimMappings['extra']>,
    { path, compiled }: { readonly path: string; readonly compiled: CompiledExpressions },
  ): void {
    const seen = new Set<string>();
    for (const [index, { key = '', valueExpression = '' }] of extra.entries()) {
      const at = `${path}[${index}]`;
      this.#errors.push(...domainPathProblems(`${at}.key`, key));
      if (key !== key.toLowerCase()) this.#invalid(`${at}.key`, key, 'must be lowercase');
      if (/^(.*\.)?(kubernetes|k8s)\.io\//.test(key))
        this.#invalid(
          `${at}.key`,
          key,
          'k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use',
        );
      if (seen.has(key)) {
        this.#errors.push(fieldErrors.duplicate(`${at}.key`, key));
        continue;
      }
      seen.add(key);
      if (valueExpression === '') {
        this.#required(`${at}.valueExpression`);
        continue;
      }
      const expression = this.#compile({
        path: `${at}.valueExpression`,
        source: valueExpression,
        variable: 'claims',
        result: 'any',
      });
      if (expression) compiled.extra.push({ key, expression });
      if (expression?.uses('email_verified')) this.#usesEmailVerified = true;
    }
  }

  #userRules(
    { userValidationRules = [] }: JwtConfiguration,
    { path, compiled }: { readonly path: string; readonly compiled: CompiledExpressions },
  ): void {
    const sources = new Set<string>();
    for (const [index, { expression: source = '', message = '' }] of userValidationRules.entries()) {
      const at = `${path}[${index}].expression`;
      if (source === '') {
        this.#required(at);
        continue;
      }
      const expression = this.#once(sources, { path: at, source, variable: 'user', result: 'bool' });
      if (expression) compiled.userRules.push({ source, message, expression });
    }
  }

  #once(seen: Set<string>, of: Source): ClaimExpression | undefined {
    if (seen.has(of.source)) {
      this.#errors.push(fieldErrors.duplicate(of.path, of.source));
      return undefined;
    }
    seen.add(of.source);
    return this.#compile(of);
  }

  #compile({ path, source, variable, result }: Source): ClaimExpression | undefined {
    if (source.trim() === '') {
      this.#required(path, 'expression is required');
      return undefined;
    }
    try {
      return this.#options.compiler?.(source, { variable, result });
    } catch (error) {
      this.#invalid(path, source, (error as Error).message);
      return undefined;
    }
  }
}

function trimmed(url: string): string {
  return url.replace(/\/+$/, '');
}
