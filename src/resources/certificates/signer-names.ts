/** Names of certificate signers ('example.com/my-signer') and of cluster trust bundles of a signer. */
import { validateDNS1123Label, validateDNS1123Subdomain } from '#machinery/names.ts';
import type { Errors, Path } from '../field-path.ts';

const DOMAIN_MAX = 253;
const LABEL_MAX = 63;

export function checkSignerName(name: string, path: Path, errors: Errors): void {
  if (name === '') {
    errors.required(path);
    return;
  }
  const segments = name.split('/');
  if (segments.length !== 2) {
    errors.invalid(
      path,
      name,
      "must be a fully qualified domain and path of the form 'example.com/signer-name'",
    );
    return;
  }
  const [domain, signer] = segments as [string, string];
  const labels = domain.split('.');
  for (const label of labels)
    errors.invalidEach(
      path,
      domain,
      validateDNS1123Label(label).map((problem) => `validating label ${JSON.stringify(label)}: ${problem}`),
    );
  if (labels.length < 2)
    errors.invalid(path, domain, 'should be a domain with at least two segments separated by dots');
  for (const label of signer.split('.'))
    errors.invalidEach(
      path,
      signer,
      validateDNS1123Subdomain(label).map(
        (problem) => `validating label ${JSON.stringify(label)}: ${problem}`,
      ),
    );
  const most = DOMAIN_MAX + 1 + DOMAIN_MAX + 1 + LABEL_MAX;
  if (name.length > most) errors.tooLong(path, most);
}

/** 'example.com:my-signer:bundle' for one with a signer, a plain name for one without. */
export function checkClusterTrustBundleName(name: string, path: Path, errors: Errors): void {
  errors.invalidEach(
    path,
    name,
    clusterTrustBundleNameProblems(name, signerOf(name)).map(
      (problem) => `not a valid clustertrustbundlename: ${problem}`,
    ),
  );
}

function signerOf(name: string): string {
  const colon = name.lastIndexOf(':');
  return colon < 0 ? '' : name.slice(0, colon).replace(':', '/');
}

export function clusterTrustBundleNameProblems(name: string, signerName: string): string[] {
  if (signerName === '')
    return name.includes(':')
      ? ['ClusterTrustBundle without signer name must not have ":" in its name']
      : validateDNS1123Subdomain(name);
  const prefix = `${signerName.replace('/', ':')}:`;
  if (!name.startsWith(prefix))
    return [`ClusterTrustBundle for signerName ${signerName} must be named with prefix ${prefix}`];
  return validateDNS1123Subdomain(name.slice(prefix.length));
}
