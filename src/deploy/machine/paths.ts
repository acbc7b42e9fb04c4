/** Paths of one machine of a cluster: kubeadm's, each below --rootfs. Changes nothing. */
import { join, resolve } from 'node:path';
import { UserError } from '../data-dir.ts';

export type KubeconfigName =
  | 'admin'
  | 'super-admin'
  | 'controller-manager'
  | 'scheduler'
  | 'kubelet'
  | 'bootstrap-kubelet'
  | 'dns';

export interface MachinePaths {
  /** '/' where --rootfs was not given. */
  readonly rootfs: string;
  /** /etc/kubernetes */
  readonly kubernetes: string;
  /** /etc/kubernetes/pki, or --cert-dir. */
  readonly pki: string;
  readonly etcdPki: string;
  /** /etc/kubernetes/manifests */
  readonly manifests: string;
  /** /var/lib/kubelet */
  readonly kubelet: string;
  readonly kubeletConfig: string;
  readonly kubeletPki: string;
  /** /var/lib/etcd, or ClusterConfiguration's. */
  readonly etcdData: string;
  /** /var/lib/capstan */
  readonly capstan: string;
  /** /var/backups/capstan: what a reset leaves. */
  readonly backups: string;
  readonly machineFile: string;
  /** Held by the command that changes this machine: init, join, leave, reset. */
  readonly machineLock: string;
  readonly apiServersFile: string;
  readonly node: string;
  /** /run/capstan: what does not outlive a boot. */
  readonly run: string;
  readonly supervisorLock: string;
  readonly supervisorSocket: string;
  /** /var/log/capstan */
  readonly logs: string;
  kubeconfig(name: KubeconfigName): string;
}

interface PathOptions {
  readonly rootfs?: string | undefined;
  /** --cert-dir, below rootfs too. */
  readonly certificatesDir?: string | undefined;
  readonly etcdDataDir?: string | undefined;
}

export function machinePaths({ rootfs = '/', certificatesDir, etcdDataDir }: PathOptions = {}): MachinePaths {
  if (rootfs === '') throw new UserError('--rootfs is empty; it should be a directory.');
  const root = resolve(rootfs);
  const at = (path: string): string => join(root, path);
  const pki = at(certificatesDir ?? '/etc/kubernetes/pki');
  return {
    rootfs: root,
    kubernetes: at('/etc/kubernetes'),
    pki,
    etcdPki: join(pki, 'etcd'),
    manifests: at('/etc/kubernetes/manifests'),
    kubelet: at('/var/lib/kubelet'),
    kubeletConfig: at('/var/lib/kubelet/config.yaml'),
    kubeletPki: at('/var/lib/kubelet/pki'),
    etcdData: at(etcdDataDir ?? '/var/lib/etcd'),
    capstan: at('/var/lib/capstan'),
    backups: at('/var/backups/capstan'),
    machineFile: at('/var/lib/capstan/machine.json'),
    machineLock: at('/var/lib/capstan/machine.lock'),
    apiServersFile: at('/var/lib/capstan/api-servers.json'),
    node: at('/var/lib/capstan/node'),
    run: at('/run/capstan'),
    supervisorLock: at('/run/capstan/supervisor.lock'),
    supervisorSocket: at('/run/capstan/supervisor.sock'),
    logs: at('/var/log/capstan'),
    kubeconfig: (name) => at(`/etc/kubernetes/${name}.conf`),
  };
}
