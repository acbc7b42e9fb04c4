/** A DRA driver for tests, a gRPC server on unix sockets as real ones are: it answers with the same CDI devices for each claim. */
import { join } from 'node:path';
import { serveUnixSocket, type UnixServer } from '#grpc/server.ts';
import { registrationMethods } from '../../plugins/registration.ts';
import { DRA_SERVICES, type DraClaim, type PreparedDevice } from '../protocol.ts';

interface ClaimDriverOptions {
  readonly name: string;
  readonly dir: string;
  /** '…/plugins_registry' */
  readonly registryDir: string;
  readonly service?: string;
  readonly devices: readonly Partial<PreparedDevice>[];
}

export class ClaimDriver {
  readonly #options: ClaimDriverOptions;
  readonly calls: string[] = [];
  readonly registrations: object[] = [];
  /** In the answer for each claim. */
  failure = '';
  #servers: UnixServer[] = [];

  constructor(options: ClaimDriverOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { dir, registryDir, name, service = 'v1.DRAPlugin', devices } = this.#options;
    const endpoint = join(dir, `${name}.sock`);
    const each = (what: string, answer: object) => (request: object) => {
      const { claims } = request as { readonly claims: readonly DraClaim[] };
      for (const claim of claims) this.calls.push(`${what} ${claim.name}`);
      return {
        claims: Object.fromEntries(
          claims.map(({ uid }) => [uid, this.failure === '' ? answer : { error: this.failure }]),
        ),
      };
    };
    this.#servers.push(
      await serveUnixSocket({
        socketPath: endpoint,
        methods: DRA_SERVICES.get(service)!,
        answers: {
          NodePrepareResources: each('prepare', { devices }),
          NodeUnprepareResources: each('unprepare', {}),
        },
      }),
      await serveUnixSocket({
        socketPath: join(registryDir, `${name}-reg.sock`),
        methods: registrationMethods,
        answers: {
          GetInfo: () => ({ type: 'DRAPlugin', name, endpoint, supportedVersions: [service] }),
          NotifyRegistrationStatus: (status) => {
            this.registrations.push(status);
            return {};
          },
        },
      }),
    );
  }

  stop(): void {
    for (const server of this.#servers.splice(0)) server.close();
  }
}
