/**
 * Parses URLs as Go's net/url, which accepts more than the WHATWG's rules and adds nothing ('' is a URL without scheme and host). Only the
 * parts that validation needs, and Go's messages for them.
 */
interface UrlParts {
  /** In lower case; '' when there is none. */
  readonly scheme: string;
  /** Including the port. */
  readonly host: string;
  readonly user?: string;
  readonly query: string;
  readonly fragment: string;
  /** Why it is not a URL; the other fields are empty then. */
  readonly problem?: string;
}

function refused(problem: string): UrlParts {
  return { scheme: '', host: '', query: '', fragment: '', problem };
}

const SCHEME = /^[a-z][a-z0-9+.-]*:/i;
/** Characters not allowed in a host: all of ASCII except these. */
const HOST_CHARACTER = /[^\w\-.~!$&'()*+,;=:[\]<>"%\u0080-\uffff]/;

export function parseUrl(text: string): UrlParts {
  const hash = text.indexOf('#'),
    whole = hash < 0 ? text : text.slice(0, hash),
    fragment = hash < 0 ? '' : text.slice(hash + 1);
  if (/[\u0000-\u001f\u007f]/.test(whole)) return refused('net/url: invalid control character in URL');
  if (whole.startsWith(':')) return refused('missing protocol scheme');
  const scheme = SCHEME.exec(whole)?.[0].slice(0, -1) ?? '';
  const afterScheme = scheme === '' ? whole : whole.slice(scheme.length + 1);
  const question = afterScheme.indexOf('?'),
    rest = question < 0 ? afterScheme : afterScheme.slice(0, question),
    query = question < 0 ? '' : afterScheme.slice(question + 1);
  if (scheme === '' && rest.split('/', 1)[0]!.includes(':'))
    return refused('first path segment in URL cannot contain colon');
  const parts = { scheme: scheme.toLowerCase(), query, fragment };
  if (!rest.startsWith('//') || (scheme === '' && rest.startsWith('///'))) return { ...parts, host: '' };
  const authority = rest.slice(2).split('/', 1)[0]!,
    at = authority.lastIndexOf('@');
  const host = authority.slice(at + 1),
    problem = hostProblem(host);
  return problem === undefined
    ? { ...parts, host, ...(at < 0 ? {} : { user: authority.slice(0, at) }) }
    : refused(problem);
}

function hostProblem(host: string): string | undefined {
  if (host.startsWith('[') && !host.includes(']')) return "missing ']' in host";
  const wrong = HOST_CHARACTER.exec(host)?.[0];
  if (wrong !== undefined) return `invalid character ${JSON.stringify(wrong)} in host name`;
  const port = host.slice(host.lastIndexOf(']') + 1).match(/:.*$/s)?.[0];
  return port === undefined || /^:[0-9]*$/.test(port)
    ? undefined
    : `invalid port ${JSON.stringify(port)} after host`;
}
