import type { Clock } from '#stdx/clock.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { CustomResourceDefinition } from '#api/types.ts';
import type { InternalApi } from '../internal.ts';
export function createConverter(_d: CustomResourceDefinition, _o: { readonly internal: InternalApi; readonly clock: Clock }): (objects: readonly KubeObject[], to: string) => Promise<KubeObject[]> { return () => Promise.reject(new Error('x')); }
