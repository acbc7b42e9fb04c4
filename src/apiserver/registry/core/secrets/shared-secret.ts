/**
 * A value shared by every API server on one store, kept in a Secret of kube-system: created by the first one, reloaded by each when it is replaced,
 * recreated when it is deleted.
 */
import { errorMessage, type Logger } from '#stdx/log.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { GroupResource, InternalApi } from '../../loopback-client.ts';

const SECRETS: GroupResource = { group: '', resource: 'secrets' };
const NAMESPACE = 'kube-system';

interface SharedSecretOptions {
  readonly name: string;
  /** In its data. */
  readonly field: string;
  make(): string;
  readonly log: Logger;
}

interface SharedText {
  readonly text: string;
  /** Another one for another text. */
  readonly version: string;
}

export class SharedSecret {
  readonly #options: SharedSecretOptions;
  #internal: InternalApi | undefined;
  #isMaking = false;

  constructor(options: SharedSecretOptions) {
    this.#options = options;
  }

  /** Resolves when there is one. */
  attach(internal: InternalApi): Promise<void> {
    this.#internal = internal;
    return this.#ensure(internal);
  }

  /** From this server's cache. Undefined: absent or deleted; it is being created. */
  read(): SharedText | undefined {
    const internal = this.#internal;
    if (!internal) return undefined;
    const { name, field } = this.#options;
    const secret = internal.get(SECRETS, { namespace: NAMESPACE, name });
    const data = secret?.['data'] as Readonly<Record<string, string>> | undefined;
    if (data?.[field] !== undefined)
      return {
        text: Buffer.from(data[field], 'base64').toString(),
        version: secret!.metadata?.resourceVersion ?? '',
      };
    if (!this.#isMaking) void this.#makeAnew(internal);
    return undefined;
  }

  async #makeAnew(internal: InternalApi): Promise<void> {
    const { name, log } = this.#options;
    this.#isMaking = true;
    try {
      await this.#ensure(internal);
    } catch (error) {
      log.error('error creating a Secret shared by API servers', {
        secret: name,
        error: errorMessage(error),
      });
    }
    this.#isMaking = false;
  }

  async #ensure(internal: InternalApi): Promise<void> {
    const { name, field, make } = this.#options;
    if (internal.get(SECRETS, { namespace: NAMESPACE, name })) return;
    try {
      await internal.create(SECRETS, {
        apiVersion: 'v1',
        kind: 'Secret',
        type: 'Opaque',
        metadata: { name, namespace: NAMESPACE },
        data: { [field]: Buffer.from(make()).toString('base64') },
      } as KubeObject);
    } catch (error) {
      // Another server was faster: its text is everybody's.
      if (!isStatusError(error, 'AlreadyExists')) throw error;
    }
  }
}
