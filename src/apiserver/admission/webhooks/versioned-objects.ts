/** The objects of one request in the versions that webhooks request, each converted once. */
import { statusErrors } from '#machinery/errors.ts';
import { errorMessage } from '#stdx/log.ts';
import { formatApiVersion, type KubeObject } from '#machinery/object.ts';
import type { AdmissionKinds } from '../kinds.ts';
import type { Match } from '../matching.ts';
import type { AdmissionAttributes } from '../plugin.ts';
import type { SeenObjects } from './review.ts';

export class VersionedObjects {
  readonly #attributes: AdmissionAttributes;
  readonly #kinds: AdmissionKinds;
  readonly #objects = new Map<string, Promise<KubeObject | undefined>>();
  readonly #oldObjects = new Map<string, Promise<KubeObject | undefined>>();

  constructor(attributes: AdmissionAttributes, kinds: AdmissionKinds) {
    this.#attributes = attributes;
    this.#kinds = kinds;
  }

  /** Shared: never change them. Rejects with a StatusError. */
  async as(seen: Match): Promise<SeenObjects> {
    const { object, oldObject } = this.#attributes;
    const [now, before] = await Promise.all([
      this.#converted(this.#objects, object, seen),
      this.#converted(this.#oldObjects, oldObject, seen),
    ]);
    return { object: now, oldObject: before };
  }

  /** The object was changed. */
  forget(): void {
    this.#objects.clear();
  }

  #converted(
    known: Map<string, Promise<KubeObject | undefined>>,
    object: KubeObject | undefined,
    { gvk }: Match,
  ): Promise<KubeObject | undefined> {
    const key = `${formatApiVersion(gvk)} ${gvk.kind}`;
    let found = known.get(key);
    if (!found) known.set(key, (found = this.#convert(object, gvk)));
    return found;
  }

  async #convert(object: KubeObject | undefined, gvk: Match['gvk']): Promise<KubeObject | undefined> {
    if (!object) return undefined;
    try {
      const converted = await this.#kinds.convert(object, this.#attributes.gvr, gvk);
      // Old stored objects, or objects sent without, may lack kind and apiVersion.
      return converted.kind && converted.apiVersion
        ? converted
        : { ...converted, apiVersion: formatApiVersion(gvk), kind: gvk.kind };
    } catch (error) {
      throw statusErrors.internal(errorMessage(error));
    }
  }
}
