/** Whether objects of a backup are valid for this version: each as an update of itself, so that what upstream ratchets passes. Custom resources are not looked at. */
import type { HookContext } from '#resources/define.ts';
import { storedResource } from '#resources/stored-resource.ts';
import type { KubeObject } from '#machinery/object.ts';
import { errorMessage } from '#stdx/log.ts';
import { identities } from '../all-in-one/identities.ts';

/** Of all that are invalid. */
const NAMED = 10;
const MESSAGE_CHARS = 300;

export class ObjectValidation {
  /** How many objects are invalid. */
  invalid = 0;
  /** The first of them, each with what is wrong: 'configmaps/default/a: data[no key]: a valid config key must …'. */
  readonly named: string[] = [];
  readonly #context: HookContext;

  constructor(nowMs: number) {
    const nothing = (): undefined => undefined;
    this.#context = { user: identities.up, nowMs, dryRun: true, warn: nothing, find: nothing };
  }

  /** object: decoded; it is not changed. */
  check(key: string, object: KubeObject): void {
    const problem = this.#problemOf(key, object);
    if (problem === undefined) return;
    this.invalid++;
    if (this.named.length < NAMED)
      this.named.push(`${key.slice('/registry/'.length)}: ${problem.slice(0, MESSAGE_CHARS)}`);
  }

  #problemOf(key: string, object: KubeObject): string | undefined {
    const { builtin } = storedResource(key);
    if (!builtin) return undefined;
    try {
      const previous = structuredClone(builtin.convert(object, builtin.storageApiVersion));
      builtin.applyDefaults(previous);
      const next = structuredClone(previous);
      builtin.prepareForUpdate(next, previous, this.#context);
      const [error] = builtin.validateUpdate(next, previous, this.#context);
      // Not the value: it may be a secret, and the result is beside the backup, not encrypted.
      return error && `${error.field}: ${error.detail || error.type}`;
    } catch (error) {
      return errorMessage(error);
    }
  }
}
