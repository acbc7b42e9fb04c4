/**
 * The API connection of a kubeconfig, followed at run time: embedded credentials and authorities are renewed by rewriting the file; those in separate files
 * are followed by each transport. Every transport opened from it follows it.
 */
import { createHttpsTransport, type HttpsOptions, type HttpsTransport } from '#client/https.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { watchFiles } from '#stdx/watched-files.ts';

interface FollowOptions {
  readonly file: string;
  /** Throws for a file that cannot be used. */
  read(): HttpsOptions;
  readonly log: Logger;
}

/** The parts of the connection that a transport needs. */
export type Derive = (connection: HttpsOptions) => HttpsOptions;

export class FollowedConnection {
  readonly #transports: { readonly transport: HttpsTransport; readonly derive: Derive }[] = [];
  readonly #watched: { close(): void };
  #options: HttpsOptions;

  /** Throws what read() throws. */
  constructor({ file, read, log }: FollowOptions) {
    this.#options = read();
    this.#watched = watchFiles({
      paths: [file],
      changed: () => {
        try {
          this.#reload(read());
          log.info('kubeconfig reloaded', { file });
        } catch (error) {
          log.error('the changed kubeconfig is invalid, keeping the previous credentials', {
            error: errorMessage(error),
          });
        }
      },
      unreadable: (error) =>
        log.error('error reading the kubeconfig, keeping the previous credentials', { error: error.message }),
    });
  }

  /** From the current file. */
  get options(): HttpsOptions {
    return this.#options;
  }

  /** Closed with the connection. */
  open(derive: Derive = (connection) => connection): HttpsTransport {
    const transport = createHttpsTransport(derive(this.#options));
    this.#transports.push({ transport, derive });
    return transport;
  }

  #reload(options: HttpsOptions): void {
    this.#options = options;
    for (const { transport, derive } of this.#transports) transport.reload(derive(options));
  }

  async close(): Promise<void> {
    this.#watched.close();
    await Promise.all(this.#transports.map(({ transport }) => transport.close()));
  }
}
