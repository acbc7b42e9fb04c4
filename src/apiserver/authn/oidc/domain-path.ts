/** Keys like 'example.org/name': a domain, a slash and a path. After upstream's IsDomainPrefixedPath. */
import { fieldErrors, type FieldError } from '#machinery/errors.ts';
import { validateDNS1123Subdomain } from '#machinery/names.ts';

const PATH = /^[A-Za-z0-9/\-._~%!$&'()*+,;=:]+$/;

export function domainPathProblems(field: string, key: string): FieldError[] {
  if (key === '') return [fieldErrors.required(field)];
  const mark = key.indexOf('/');
  if (mark <= 0 || mark === key.length - 1)
    return [fieldErrors.invalid(field, key, 'must be a domain-prefixed path (such as "acme.io/foo")')];
  const problems = validateDNS1123Subdomain(key.slice(0, mark));
  if (problems.length > 0)
    return problems.map((problem) => fieldErrors.invalid(field, key.slice(0, mark), problem));
  return PATH.test(key.slice(mark + 1))
    ? []
    : [
        fieldErrors.invalid(
          field,
          key.slice(mark + 1),
          `Invalid path (regex used for validation is '${PATH.source.slice(1, -1)}')`,
        ),
      ];
}
