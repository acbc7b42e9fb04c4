/** One look at a machine's certificates in kubeadm's layout, for the renewal that its supervisor runs. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { MachinePaths } from '../machine/paths.ts';
import type { CertificateState } from '../pki/renewal.ts';
import { kubeadmCertificates } from './certificate-files.ts';
import { inspectCertificates } from './certificates-check.ts';
import { renewDue, renewInvalid } from './certificates-renew.ts';
import { kubeletClientFile } from './kubelet-client.ts';

/** Renews due certificates and those of a previous authority. A machine without an authority has nothing to renew here. */
export async function renewMachineCertificates(
  { pki, kubernetes, kubeletPki }: Pick<MachinePaths, 'pki' | 'kubernetes' | 'kubeletPki'>,
  { nowMs, externalEtcd }: { readonly nowMs: number; readonly externalEtcd: boolean },
): Promise<CertificateState> {
  if (!existsSync(join(pki, 'ca.crt'))) return { changes: [], warnings: [], ends: [] };
  const set = kubeadmCertificates({
    certDir: pki,
    kubeconfigDir: kubernetes,
    externalEtcd,
  });
  const { renewed } = await renewDue(set, { nowMs });
  // The node agent renews its own in time; after that it could not ask for one, and of static pods it would not run the API server to ask.
  const kubelet = {
    dir: pki,
    files: [...set.files.filter(({ name }) => name === 'ca'), kubeletClientFile(kubeletPki)],
  };
  const late = await renewInvalid(kubelet, { nowMs });
  const rows = await inspectCertificates(set, { nowMs });
  const isThere = ({ certificate, problems }: (typeof rows)[number]): boolean =>
    certificate !== undefined || problems.some((problem) => !problem.endsWith('is missing'));
  return {
    changes: [...renewed, ...late.renewed].map((name) => `reissued ${name}`),
    warnings: rows
      .filter(isThere)
      .flatMap(({ problems, warnings }) => [...problems, ...warnings])
      .map((message) => ({ key: message, message })),
    ends: rows.flatMap(({ name, certificate }) =>
      certificate ? [{ name, notAfterMs: certificate.notAfterMs }] : [],
    ),
  };
}
