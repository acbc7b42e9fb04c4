/** How objects of a backup are encoded: as upstream keeps them in etcd. And what was versioned. */
import { decodeAt, encodeAt } from '#apiserver/storagecodec/codec-store.ts';
import type { MakeOptions } from '#backup/make.ts';
import { CAPSTAN_VERSION, KUBERNETES_VERSION } from '../version.ts';

export const encode = encodeAt;
export const decode = decodeAt;

export const VERSIONS: MakeOptions['versions'] = {
  capstanVersion: CAPSTAN_VERSION,
  kubernetesVersion: KUBERNETES_VERSION.replace(/\+.*/, ''),
};
