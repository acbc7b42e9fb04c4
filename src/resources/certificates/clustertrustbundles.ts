/** ClusterTrustBundle: CA certificates for pods, by name or by signer. */
import { defineResource } from '../define.ts';
import { Errors, METADATA, SPEC } from '../field-path.ts';
import { columns, nameOf } from '../tables.ts';
import { checkSignerName, clusterTrustBundleNameProblems } from './signer-names.ts';
import type { KubeObject } from '#machinery/object.ts';

interface Bundle {
  signerName?: string;
  trustBundle?: string;
}

export const clustertrustbundles = defineResource({
  group: 'certificates.k8s.io',
  plural: 'clustertrustbundles',
  allowUnconditionalUpdate: false,
  // With a signer the name has colons; validate checks it against the signer's name.
  nameRule: () => [],
  prepareForCreate: () => {},
  prepareForUpdate: () => {},
  validate,
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    if (specOf(next).signerName !== specOf(previous).signerName)
      errors.invalid(SPEC.child('signerName'), specOf(next).signerName, 'field is immutable');
    return [...validate(next), ...errors.list];
  },
  fieldSelectors: { 'spec.signerName': (bundle) => specOf(bundle).signerName ?? '' },
  table: {
    columns: columns('Name', 'SignerName'),
    row: (bundle) => [nameOf(bundle), specOf(bundle).signerName || '<none>'],
  },
});

function specOf(object: KubeObject): Bundle {
  return (object['spec'] ?? {}) as Bundle;
}

const CERTIFICATES = /^(?:[^-]*-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----)+\s*$/;

function validate(object: KubeObject): Errors['list'] {
  const errors = new Errors(),
    { signerName = '', trustBundle = '' } = specOf(object),
    name = object.metadata?.name ?? '';
  errors.invalidEach(METADATA.child('name'), name, clusterTrustBundleNameProblems(name, signerName));
  if (signerName !== '') checkSignerName(signerName, SPEC.child('signerName'), errors);
  if (!trustBundle.includes('-----BEGIN CERTIFICATE-----'))
    errors.invalid(
      SPEC.child('trustBundle'),
      '<value omitted>',
      'at least one trust anchor must be provided',
    );
  else if (!CERTIFICATES.test(trustBundle))
    errors.invalid(
      SPEC.child('trustBundle'),
      '<value omitted>',
      'must hold PEM blocks of type CERTIFICATE only',
    );
  return errors.list;
}
