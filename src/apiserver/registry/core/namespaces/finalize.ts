/** namespaces/NAME/finalize: replaces spec.finalizers, all else stays. */
import type { KubeObject } from '#machinery/object.ts';
import { deepClone } from '#machinery/json.ts';
import { readObject, toStorage } from '../../body.ts';
import { checkName, optionsObject, writeRequest, type WriteCall } from '../../write-call.ts';
import { parseMutationOptions } from '../../verb-options.ts';
import type { ApiResponse } from '../../../http/request.ts';
import { takePreconditions } from '../../subresources/bodies.ts';
import { respondWithObject, viewOptions } from '../../transform.ts';
import type { StoredEndpoint } from '../../write-request.ts';

export async function finalizeNamespace(endpoint: StoredEndpoint, call: WriteCall): Promise<ApiResponse> {
  const { context, core, target } = call;
  const options = parseMutationOptions(context, 'UpdateOptions');
  const view = viewOptions(context, core.clock.now());
  const given = toStorage(endpoint, await readObject(endpoint, context, options.fieldValidation));
  checkName(given.metadata, { ...target, namespace: '' }, false);
  const written = await core.registry.update(
    endpoint,
    {
      change: (current) => {
        const next: KubeObject = deepClone(current!);
        const finalizers = (given['spec'] as { finalizers?: string[] } | undefined)?.finalizers ?? [];
        next['spec'] = { ...(next['spec'] as object | undefined), finalizers };
        if (finalizers.length === 0) delete (next['spec'] as { finalizers?: string[] }).finalizers;
        delete next.metadata!.resourceVersion;
        takePreconditions(next.metadata!, given.metadata);
        return next;
      },
      prepare: () => {},
    },
    writeRequest(endpoint, call, {
      dryRun: options.dryRun,
      subresource: 'finalize',
      options: optionsObject('UpdateOptions', options),
    }),
  );
  return respondWithObject(endpoint, written, { status: 200, options: view });
}
