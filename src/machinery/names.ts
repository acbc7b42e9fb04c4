/**
 * Rules for names, keys and values, with upstream's messages (apimachinery's util/validation and api/validate/content).
 * Every validate… function returns the problems of the value, one message each; an empty list means valid.
 * Lengths are bytes of UTF-8, as Go counts them.
 */
export { validateCIDR, validateIP, validateLegacyCIDR, validateLegacyIP } from './ip.ts';

const DNS1123_LABEL = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const DNS1123_SUBDOMAIN = `${DNS1123_LABEL}(\\.${DNS1123_LABEL})*`;
const DNS1123_LABEL_UNDERSCORE = '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?';
const DNS1123_SUBDOMAIN_UNDERSCORE = `${DNS1123_LABEL_UNDERSCORE}(\\.${DNS1123_LABEL_UNDERSCORE})*`;
const DNS1035_LABEL = '[a-z]([-a-z0-9]*[a-z0-9])?';
const WILDCARD_SUBDOMAIN = `\\*\\.${DNS1123_SUBDOMAIN}`;
const LABEL_KEY = '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]';
const LABEL_VALUE = `(${LABEL_KEY})?`;
const C_IDENTIFIER = '[A-Za-z_][A-Za-z0-9_]*';
const PERCENT = '[0-9]+%';
const HTTP_HEADER = '[-A-Za-z0-9]+';
const ENV_VAR_NAME = '[-._a-zA-Z][-._a-zA-Z0-9]*';
const CONFIG_MAP_KEY = '[-._a-zA-Z0-9]+';

function whole(pattern: string): RegExp {
  return new RegExp(`^(?:${pattern})$`);
}

const PATTERNS = {
  dns1123Label: whole(DNS1123_LABEL),
  dns1123Subdomain: whole(DNS1123_SUBDOMAIN),
  dns1123SubdomainUnderscore: whole(DNS1123_SUBDOMAIN_UNDERSCORE),
  dns1035Label: whole(DNS1035_LABEL),
  wildcardSubdomain: whole(WILDCARD_SUBDOMAIN),
  labelKey: whole(LABEL_KEY),
  labelValue: whole(LABEL_VALUE),
  cIdentifier: whole(C_IDENTIFIER),
  percent: whole(PERCENT),
  httpHeader: whole(HTTP_HEADER),
  envVarName: whole(ENV_VAR_NAME),
  configMapKey: whole(CONFIG_MAP_KEY),
} as const;

export const DNS1123_LABEL_MAX_LENGTH = 63;
export const DNS1123_SUBDOMAIN_MAX_LENGTH = 253;
export const DNS1035_LABEL_MAX_LENGTH = 63;
export const LABEL_VALUE_MAX_LENGTH = 63;

/** Describes valid values, with examples and the pattern. */
export function regexProblem(message: string, pattern: string, ...examples: string[]): string {
  if (examples.length === 0) return `${message} (regex used for validation is '${pattern}')`;
  return `${message} (e.g. ${examples.map((example) => `'${example}', `).join(' or ')}regex used for validation is '${pattern}')`;
}

export function maxLengthProblem(maximum: number): string {
  return `must be no more than ${maximum} characters`;
}

/** The length limit of label keys and values, in bytes. */
function maxBytesProblem(maximum: number): string {
  return `must be no more than ${maximum} bytes`;
}

export function inclusiveRangeProblem(low: number, high: number): string {
  return `must be between ${low} and ${high}, inclusive`;
}

function longerThan(value: string, maximum: number): boolean {
  return value.length > maximum || (value.length * 3 > maximum && Buffer.byteLength(value) > maximum);
}

export function validateDNS1123Label(value: string): string[] {
  const problems = longerThan(value, DNS1123_LABEL_MAX_LENGTH)
    ? [maxLengthProblem(DNS1123_LABEL_MAX_LENGTH)]
    : [];
  if (PATTERNS.dns1123Label.test(value)) return problems;
  problems.push(
    PATTERNS.dns1123Subdomain.test(value)
      ? 'must not contain dots'
      : regexProblem(
          "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
          DNS1123_LABEL,
          'my-name',
          '123-abc',
        ),
  );
  return problems;
}

export function validateDNS1123Subdomain(value: string): string[] {
  return dns1123SubdomainProblems(value, maxLengthProblem);
}

function dns1123SubdomainProblems(value: string, lengthProblem: (maximum: number) => string): string[] {
  const problems = longerThan(value, DNS1123_SUBDOMAIN_MAX_LENGTH)
    ? [lengthProblem(DNS1123_SUBDOMAIN_MAX_LENGTH)]
    : [];
  if (!PATTERNS.dns1123Subdomain.test(value)) {
    problems.push(
      regexProblem(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
        DNS1123_SUBDOMAIN,
        'example.com',
      ),
    );
  }
  return problems;
}

export function validateDNS1123SubdomainWithUnderscore(value: string): string[] {
  const problems = longerThan(value, DNS1123_SUBDOMAIN_MAX_LENGTH)
    ? [maxLengthProblem(DNS1123_SUBDOMAIN_MAX_LENGTH)]
    : [];
  if (!PATTERNS.dns1123SubdomainUnderscore.test(value)) {
    problems.push(
      regexProblem(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
        DNS1123_SUBDOMAIN_UNDERSCORE,
        'example.com',
      ),
    );
  }
  return problems;
}

export function validateWildcardDNS1123Subdomain(value: string): string[] {
  const problems = longerThan(value, DNS1123_SUBDOMAIN_MAX_LENGTH)
    ? [maxLengthProblem(DNS1123_SUBDOMAIN_MAX_LENGTH)]
    : [];
  if (!PATTERNS.wildcardSubdomain.test(value)) {
    problems.push(
      regexProblem(
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
        WILDCARD_SUBDOMAIN,
        '*.example.com',
      ),
    );
  }
  return problems;
}

export function validateDNS1035Label(value: string): string[] {
  const problems = longerThan(value, DNS1035_LABEL_MAX_LENGTH)
    ? [maxLengthProblem(DNS1035_LABEL_MAX_LENGTH)]
    : [];
  if (!PATTERNS.dns1035Label.test(value)) {
    problems.push(
      regexProblem(
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
        DNS1035_LABEL,
        'my-name',
        'abc-123',
      ),
    );
  }
  return problems;
}

const LABEL_KEY_MESSAGE =
  "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/** Label keys, annotation keys, finalizers, resource names: an optional DNS subdomain and '/', then a short name. */
export function validateQualifiedName(value: string): string[] {
  const parts = value.split('/');
  if (parts.length > 2) {
    return [
      `a valid label key ${regexProblem(LABEL_KEY_MESSAGE, LABEL_KEY, 'MyName', 'my.name', '123-abc')} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`,
    ];
  }
  const problems: string[] = [];
  const name = parts[parts.length - 1]!;
  if (parts.length === 2) {
    if (parts[0] === '') problems.push('prefix part must be non-empty');
    else
      for (const problem of dns1123SubdomainProblems(parts[0]!, maxBytesProblem))
        problems.push(`prefix part ${problem}`);
  }
  if (name === '') problems.push('name part must be non-empty');
  else if (longerThan(name, 63)) problems.push(`name part ${maxBytesProblem(63)}`);
  if (!PATTERNS.labelKey.test(name))
    problems.push(`name part ${regexProblem(LABEL_KEY_MESSAGE, LABEL_KEY, 'MyName', 'my.name', '123-abc')}`);
  return problems;
}

export const validateLabelKey = validateQualifiedName;

export function validateLabelValue(value: string): string[] {
  const problems = longerThan(value, LABEL_VALUE_MAX_LENGTH) ? [maxBytesProblem(LABEL_VALUE_MAX_LENGTH)] : [];
  if (!PATTERNS.labelValue.test(value)) {
    problems.push(
      regexProblem(
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
        LABEL_VALUE,
        'MyValue',
        'my_value',
        '12345',
      ),
    );
  }
  return problems;
}

export function validateCIdentifier(value: string): string[] {
  return PATTERNS.cIdentifier.test(value)
    ? []
    : [
        regexProblem(
          "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
          C_IDENTIFIER,
          'my_name',
          'MY_NAME',
          'MyName',
        ),
      ];
}

/** Names used in URL paths (roles, bindings, some cluster resources). */
export function validatePathSegmentName(value: string): string[] {
  if (value === '.' || value === '..') return [`may not be '${value}'`];
  return validatePathSegmentPrefix(value);
}

/** As validatePathSegmentName, for the prefix of a generated name. */
export function validatePathSegmentPrefix(value: string): string[] {
  return ['/', '%']
    .filter((illegal) => value.includes(illegal))
    .map((illegal) => `may not contain '${illegal}'`);
}

export function validatePortNumber(port: number): string[] {
  return validateInRange(port, 1, 65535);
}

export function validateInRange(value: number, low: number, high: number): string[] {
  return value >= low && value <= high ? [] : [inclusiveRangeProblem(low, high)];
}

/** User ids and group ids. */
export function validateUnixId(id: number): string[] {
  return validateInRange(id, 0, 2 ** 31 - 1);
}

export function validatePortName(port: string): string[] {
  const problems: string[] = [];
  if (longerThan(port, 15)) problems.push(maxLengthProblem(15));
  if (!/^[-a-z0-9]+$/.test(port))
    problems.push('must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)');
  if (!/[a-z]/.test(port)) problems.push('must contain at least one letter (a-z)');
  if (port.includes('--')) problems.push('must not contain consecutive hyphens');
  if (port.startsWith('-') || port.endsWith('-')) problems.push('must not begin or end with a hyphen');
  return problems;
}

export function validatePercent(value: string): string[] {
  return PATTERNS.percent.test(value)
    ? []
    : [
        regexProblem(
          "a valid percent string must be a numeric string followed by an ending '%'",
          PERCENT,
          '1%',
          '93%',
        ),
      ];
}

export function validateHTTPHeaderName(value: string): string[] {
  return PATTERNS.httpHeader.test(value)
    ? []
    : [
        regexProblem(
          "a valid HTTP header must consist of alphanumeric characters or '-'",
          HTTP_HEADER,
          'X-Header-Name',
        ),
      ];
}

export function validateEnvVarName(value: string): string[] {
  const problems = PATTERNS.envVarName.test(value)
    ? []
    : [
        regexProblem(
          "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit",
          ENV_VAR_NAME,
          'my.env-name',
          'MY_ENV.NAME',
          'MyEnvName1',
        ),
      ];
  return [...problems, ...parentDirectoryProblems(value)];
}

/** Valid in pods since RelaxedEnvironmentVariableValidation: printable ASCII without '='. */
export function validateRelaxedEnvVarName(value: string): string[] {
  if (value === '') return ['environment variable name must be non-empty'];
  return /^[\x20-\x3c\x3e-\x7e]+$/.test(value)
    ? []
    : ["a valid environment variable name must consist only of printable ASCII characters other than '='"];
}

/** Keys of config maps and secrets. */
export function validateConfigMapKey(value: string): string[] {
  const problems = longerThan(value, DNS1123_SUBDOMAIN_MAX_LENGTH)
    ? [maxLengthProblem(DNS1123_SUBDOMAIN_MAX_LENGTH)]
    : [];
  if (!PATTERNS.configMapKey.test(value)) {
    problems.push(
      regexProblem(
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
        CONFIG_MAP_KEY,
        'key.name',
        'KEY_NAME',
        'key-name',
      ),
    );
  }
  return [...problems, ...parentDirectoryProblems(value)];
}

function parentDirectoryProblems(value: string): string[] {
  if (value === '.') return ["must not be '.'"];
  if (value === '..') return ["must not be '..'"];
  return value.startsWith('..') ? ["must not start with '..'"] : [];
}

/** The base of a generated name may end with '-', which the random suffix makes valid; as upstream, it is masked before the check. */
export function maskTrailingDash(prefix: string): string {
  return prefix.length > 1 && prefix.endsWith('-') ? `${prefix.slice(0, -2)}a` : prefix;
}
