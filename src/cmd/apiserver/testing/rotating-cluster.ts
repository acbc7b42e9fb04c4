/** For tests of rotations: a data directory's certificates, and an API server in this process that follows them. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { createClient } from '#client/create.ts';
import { createHttpsTransport, type HttpsOptions } from '#client/https.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { selfSubjectReviews } from '#client/refs.ts';
import type { Transport } from '#client/transport.ts';
import { publishCertificates, renewCertificates } from '#deploy/cluster-certificates.ts';
import { dataDir, type DataDir } from '#deploy/data-dir.ts';
import { dataDirCertificates } from '#deploy/phases/certificate-files.ts';
import type { RotateOptions } from '#deploy/phases/rotation/options.ts';
import { ensurePki, type PkiOptions } from '#deploy/pki/pki.ts';
import { isStatusError } from '#machinery/errors.ts';
import { publicKeyHash } from '#pki/keys.ts';
import { certificatesIn } from '#pki/pem.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import { freePort } from '#testing/cluster.ts';
import { composeApiServer } from '../compose.ts';
import { composeOptionsFrom, settingsFrom } from '../from-flags.ts';

export interface RotatingCluster {
  readonly dir: DataDir;
  readonly pkiOptions: PkiOptions;
  /** Of a run: this directory's, or those of another machine's directory with a copy of it. */
  readonly options: (changes?: Partial<RotateOptions>, at?: DataDir) => Promise<RotateOptions>;
  readonly lines: string[];
  /** A file of the pki folder. */
  read(file: string): string;
  /** What the program does by itself every hour. */
  renew(nowMs?: number): Promise<readonly string[]>;
  /** How the administrator's kubeconfig leads in now. */
  admin(): HttpsOptions;
  /** What a run's requests go through. Default: as they are. */
  through: (transport: Transport) => Transport;
}

export async function startRotating(t: TestContext): Promise<RotatingCluster> {
  const dir = dataDir(mkdtempSync(join(tmpdir(), 'capstan-rotation-')));
  t.after(() => rmSync(dir.path, { recursive: true, force: true }));
  const port = await freePort();
  const pkiOptions: PkiOptions = {
    dir: dir.pki,
    apiServer: { hostName: 'box', serviceIP: '10.96.0.1', bindAddresses: ['127.0.0.1'] },
    nowMs: Date.now(),
  };
  const publish = { server: `https://127.0.0.1:${port}`, simulatedNodes: true };
  const pki = await ensurePki(pkiOptions);
  await publishCertificates(dir, { ...publish, pki, nowMs: Date.now() });
  const server = await composeApiServer({
    store: createMemoryStore({}),
    ...composeOptionsFrom({}, { settings: settingsFrom({}, dir.pki), pki }),
    serviceCIDR: '10.96.0.0/16',
    listen: ['127.0.0.1'],
    port,
    advertiseAddress: '127.0.0.1',
    clock: realClock,
    log: silentLogger,
  });
  t.after(() => server.stop());
  await server.ready();
  const lines: string[] = [];
  const adminAt = ({ kubeconfig }: DataDir): HttpsOptions =>
    resolveContext(loadKubeconfig({ path: kubeconfig })).options;
  const admin = (): HttpsOptions => adminAt(dir);
  const one: RotatingCluster = {
    dir,
    pkiOptions,
    lines,
    admin,
    read: (file) => readFileSync(join(dir.pki, file), 'utf8'),
    through: (transport) => transport,
    renew: async (nowMs = Date.now()) =>
      (await renewCertificates(dir, { ...publish, pki: pkiOptions, nowMs })).changes,
    options: async (changes, at = dir) => ({
      set: await dataDirCertificates(at.path),
      async connect() {
        const connection = adminAt(at);
        const transport = createHttpsTransport(connection);
        const api = createClient(one.through(transport), { userAgent: 'test' });
        const close = async (): Promise<void> => {
          await api.close();
          await transport.close();
        };
        return { api, connection, close };
      },
      machineName: 'box',
      ownNodes: [],
      waitMs: 20_000,
      tokenOverlapMs: 0,
      clock: realClock,
      print: (line) => void lines.push(line),
      ...changes,
    }),
  };
  return one;
}

/** Of public keys. */
export function hashes(pem: string): string[] {
  return certificatesIn(pem).map(publicKeyHash);
}

/** Who somebody is by a new connection with these credentials; 'Unauthorized' for nobody, else the error. */
export async function whoIs(options: HttpsOptions): Promise<string> {
  const transport = createHttpsTransport(options);
  const client = createClient(transport, { userAgent: 'test' });
  try {
    const { status } = await client.create(selfSubjectReviews, {});
    return status?.userInfo?.username ?? '';
  } catch (error) {
    return isStatusError(error, 'Unauthorized') ? 'Unauthorized' : String(error);
  } finally {
    await client.close();
    await transport.close();
  }
}
