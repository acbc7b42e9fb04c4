/** The providers of one resource in order: the first writes, whichever's prefix a stored value has reads it. */
import type { TransformationMetrics } from './metrics.ts';
import { TransformError, type Plain, type Transformer } from './transformer.ts';

export class ProviderChain {
  readonly #transformers: readonly { readonly transformer: Transformer; readonly prefix: Buffer }[];
  readonly #resource: string;
  readonly #metrics: TransformationMetrics;

  constructor(
    transformers: readonly Transformer[],
    { resource, metrics }: { readonly resource: string; readonly metrics: TransformationMetrics },
  ) {
    this.#transformers = transformers.map((transformer) => ({
      transformer,
      prefix: Buffer.from(transformer.prefix),
    }));
    this.#resource = resource;
    this.#metrics = metrics;
  }

  toStorage(value: Buffer, context: string): Buffer {
    const { transformer, prefix } = this.#transformers[0]!;
    const end = this.#metrics.begin('to_storage', { prefix: transformer.prefix, resource: this.#resource });
    try {
      const stored = transformer.toStorage(value, context);
      end('OK');
      return prefix.length === 0 ? stored : Buffer.concat([prefix, stored]);
    } catch (error) {
      end('Unknown');
      throw error;
    }
  }

  fromStorage(stored: Buffer, context: string): Plain | Promise<Plain> {
    return this.#read(stored, { context, from: 0, problems: [] });
  }

  /** Keys may share a prefix (the same provider and name with another secret): each is tried. */
  #read(
    stored: Buffer,
    {
      context,
      from,
      problems,
    }: { readonly context: string; readonly from: number; readonly problems: string[] },
  ): Plain | Promise<Plain> {
    for (let index = from; index < this.#transformers.length; index++) {
      const { transformer, prefix } = this.#transformers[index]!;
      if (!stored.subarray(0, prefix.length).equals(prefix)) continue;
      const end = this.#metrics.begin('from_storage', {
        prefix: transformer.prefix,
        resource: this.#resource,
      });
      const failed = (error: unknown): void => {
        end('Unknown');
        // A value that the identity reader refuses may belong to another provider.
        if (prefix.length > 0) problems.push((error as Error).message);
      };
      const done = ({ value, stale }: Plain): Plain => {
        end('OK');
        return { value, stale: stale || index !== 0 };
      };
      try {
        const plain = transformer.fromStorage(
          prefix.length === 0 ? stored : stored.subarray(prefix.length),
          context,
        );
        if (!(plain instanceof Promise)) return done(plain);
        return plain.then(done, (error: unknown) => {
          failed(error);
          return this.#read(stored, { context, from: index + 1, problems });
        });
      } catch (error) {
        failed(error);
      }
    }
    throw new TransformError(
      problems.length === 0
        ? 'no matching prefix found'
        : problems.length === 1
          ? problems[0]!
          : `[${problems.join(', ')}]`,
    );
  }
}
