/** All certificates of a data directory and the kubeconfigs they are in: at the start, and again at each look of the renewal. */
import { writeComponentKubeconfigs } from './component-kubeconfigs.ts';
import type { DataDir } from './data-dir.ts';
import { writeKubeconfig } from './pki/kubeconfig.ts';
import { ensureNodeCertificates, ensurePki, type Pki, type PkiOptions } from './pki/pki.ts';
import type { CertificateState } from './pki/renewal.ts';
import type { Jitter } from './pki/validity.ts';

interface NodeNames {
  readonly name: string;
  readonly addresses: readonly string[];
}

export interface PublishOptions {
  /** 'https://127.0.0.1:6443' */
  readonly server: string;
  readonly simulatedNodes: boolean;
  /** A node run by a command of its own, from a kubeconfig. */
  readonly node?: NodeNames;
  /** A node inside this program: its kubelet API's certificate. */
  readonly ownNode?: NodeNames;
  readonly jitter?: Jitter;
}

/** The administrator's kubeconfig, the components', and a node's certificates. */
export async function publishCertificates(
  dir: DataDir,
  { pki, nowMs, ownNode, ...options }: PublishOptions & { readonly pki: Pki; readonly nowMs: number },
): Promise<CertificateState> {
  const { server, jitter } = options;
  await writeKubeconfig(dir.kubeconfig, {
    server,
    caPem: pki.ca.certificatePem,
    clusterName: 'capstan',
    userName: 'kubernetes-admin',
    credentials: { certificate: pki.clients.admin },
  });
  const states: CertificateState[] = [pki, await writeComponentKubeconfigs(dir, { ...options, pki, nowMs })];
  if (ownNode)
    states.push(
      await ensureNodeCertificates(pki, {
        nodeName: ownNode.name,
        addresses: ownNode.addresses,
        nowMs,
        jitter,
      }),
    );
  return {
    changes: states.flatMap(({ changes }) => changes),
    warnings: states.flatMap(({ warnings }) => warnings),
    ends: states.flatMap(({ ends }) => ends),
  };
}

/** State of a running cluster at its last check. */
export interface KnownPki {
  pki: Pki;
}

/** For an existing cluster: authorities are never recreated. With `known`, which is updated, a file damaged since does not block the others. */
export async function renewCertificates(
  dir: DataDir,
  {
    pki,
    nowMs,
    known,
    ...publish
  }: PublishOptions & { readonly pki: PkiOptions; readonly nowMs: number; readonly known?: KnownPki },
): Promise<CertificateState> {
  const { jitter } = publish;
  const ensured = await ensurePki({
    ...pki,
    nowMs,
    mayCreate: false,
    known: known?.pki,
    ...(jitter ? { jitter } : {}),
  });
  if (known) known.pki = ensured;
  return publishCertificates(dir, { ...publish, pki: ensured, nowMs });
}
