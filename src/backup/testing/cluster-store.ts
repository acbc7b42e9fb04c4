/** A small store as an API server leaves it, and a backup of it, for tests of this room. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import type { Store } from '#storage/store.ts';
import { generateKeyPair, type KeyPair } from '../envelope.ts';
import type { MakeOptions } from '../make.ts';
import { takeSnapshot } from '../snapshot.ts';
import type { BackupTarget } from '../targets/target.ts';

const CLUSTER = '11111111-2222-4333-8444-555555555555';

export function configMap(namespace: string, name: string, data: string): [string, Buffer] {
  const object = { kind: 'ConfigMap', apiVersion: 'v1', metadata: { name, namespace }, data: { data } };
  return [`/registry/configmaps/${namespace}/${name}`, Buffer.from(JSON.stringify(object))];
}

export async function storeWith(count: number): Promise<Store> {
  const store = createMemoryStore();
  await fill(store, count);
  return store;
}

/** 256 writes at once. */
export async function fill(store: Store, count: number): Promise<void> {
  const namespace = { kind: 'Namespace', apiVersion: 'v1', metadata: { name: 'kube-system', uid: CLUSTER } };
  await store.put('/registry/namespaces/kube-system', Buffer.from(JSON.stringify(namespace)));
  for (let at = 0; at < count; at += 256)
    await Promise.all(
      Array.from({ length: Math.min(256, count - at) }, (_, i) =>
        store.put(...configMap('default', `m${at + i}`, `value ${at + i}`)),
      ),
    );
}

/** Objects are kept as they are. */
export const PLAIN = {
  encode: (_: string, json: Buffer): Buffer => json,
  decode: (_: string, stored: Buffer): Buffer => stored,
};

export async function makeOptions(
  store: Store,
  target: BackupTarget,
): Promise<MakeOptions & { readonly key: KeyPair }> {
  const key = await generateKeyPair();
  return {
    key,
    snapshot: () => takeSnapshot(store),
    encode: PLAIN.encode,
    files: [{ path: 'pki/ca.key', mode: 0o600, content: Buffer.from('secret') }],
    recipients: [key.recipient],
    target,
    versions: { capstanVersion: '0.1.0', kubernetesVersion: 'v1.36.0' },
  };
}

/** Removed by the caller. */
export function temporaryDir(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'capstan-backup-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}
