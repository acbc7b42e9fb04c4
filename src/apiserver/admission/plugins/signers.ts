/** CertificateApproval, CertificateSigning, ClusterTrustBundleAttest: permissions for a signer; CertificateSubjectRestriction: no client certificate for system:masters by a request. */
import type { CertificateSigningRequest } from '#api/types.ts';
import { readCertificateRequest } from '#resources/certificates/certificate-request.ts';
import type { Authorizer } from '../../authz/authorizer.ts';
import { forbid, isTarget } from '../forbid.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../plugin.ts';

const GROUP = 'certificates.k8s.io';
const CLIENT_SIGNER = 'kubernetes.io/kube-apiserver-client';

/** The verb on 'signers' for this signer, or for all of its domain ('example.org/*'). */
async function mayActFor(
  authorizer: Authorizer,
  attributes: AdmissionAttributes,
  { verb, signerName }: { readonly verb: string; readonly signerName: string },
): Promise<boolean> {
  for (const name of [signerName, `${signerName.split('/')[0] ?? ''}/*`]) {
    const { decision } = await authorizer.authorize({
      user: attributes.user,
      verb,
      isResourceRequest: true,
      group: GROUP,
      version: '*',
      resource: 'signers',
      subresource: '',
      namespace: '',
      name,
      path: '',
    });
    if (decision === 'allow') return true;
  }
  return false;
}

export function certificateApproval(authorizer: Authorizer): AdmissionPlugin {
  return {
    name: 'CertificateApproval',
    handles: (operation, target) =>
      operation === 'UPDATE' && isTarget(target, GROUP, 'certificatesigningrequests', 'approval'),
    async validate(attributes) {
      // The stored signer counts: the posted object's could be any.
      const signerName = (attributes.oldObject as CertificateSigningRequest).spec?.signerName ?? '';
      if (!(await mayActFor(authorizer, attributes, { verb: 'approve', signerName })))
        throw forbid(
          attributes,
          `user not permitted to approve requests with signerName ${JSON.stringify(signerName)}`,
        );
    },
  };
}

export function certificateSigning(authorizer: Authorizer): AdmissionPlugin {
  return {
    name: 'CertificateSigning',
    handles: (operation, target) =>
      operation === 'UPDATE' && isTarget(target, GROUP, 'certificatesigningrequests', 'status'),
    async validate(attributes) {
      const request = attributes.object as CertificateSigningRequest;
      const previous = attributes.oldObject as CertificateSigningRequest;
      if (
        (request.status?.certificate ?? '') === (previous.status?.certificate ?? '') &&
        failedConditions(request) === failedConditions(previous)
      )
        return;
      const signerName = previous.spec?.signerName ?? '';
      if (!(await mayActFor(authorizer, attributes, { verb: 'sign', signerName })))
        throw forbid(
          attributes,
          `user not permitted to sign requests with signerName ${JSON.stringify(signerName)}`,
        );
    },
  };
}

function failedConditions(request: CertificateSigningRequest): string {
  return JSON.stringify(
    (request.status?.conditions ?? []).filter((condition) => condition.type === 'Failed'),
  );
}

export function clusterTrustBundleAttest(authorizer: Authorizer): AdmissionPlugin {
  return {
    name: 'ClusterTrustBundleAttest',
    handles: (operation, target) =>
      (operation === 'CREATE' || operation === 'UPDATE') && isTarget(target, GROUP, 'clustertrustbundles'),
    async validate(attributes) {
      const signerName =
        (attributes.object?.['spec'] as { signerName?: string } | undefined)?.signerName ?? '';
      if (signerName === '') return;
      if (!(await mayActFor(authorizer, attributes, { verb: 'attest', signerName })))
        throw forbid(attributes, `user not permitted to attest for signerName ${JSON.stringify(signerName)}`);
    },
  };
}

export const certificateSubjectRestriction: AdmissionPlugin = {
  name: 'CertificateSubjectRestriction',
  handles: (operation, target) =>
    operation === 'CREATE' && isTarget(target, GROUP, 'certificatesigningrequests'),
  validate(attributes) {
    const { signerName, request } = (attributes.object as CertificateSigningRequest).spec ?? {};
    if (signerName !== CLIENT_SIGNER) return;
    const parsed = readCertificateRequest(request ?? '');
    if (!parsed) throw forbid(attributes, 'failed to parse CSR: PEM block type must be CERTIFICATE REQUEST');
    if (parsed.organizations.includes('system:masters'))
      throw forbid(attributes, `use of ${CLIENT_SIGNER} signer with system:masters group is not allowed`);
  },
};
