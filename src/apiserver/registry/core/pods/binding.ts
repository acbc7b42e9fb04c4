/** pods/NAME/binding, and its older form …/bindings: puts a pod on a node. */
import { fieldErrors, fieldErrorsText, statusErrors, type StatusError } from '#machinery/errors.ts';
import { updateCondition } from '#component-helpers/conditions.ts';
import { deepClone } from '#machinery/json.ts';
import { validatePathSegmentName } from '#machinery/names.ts';
import type { KubeObject } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import { readKind } from '../../body.ts';
import { optionsObject, writeRequest, type WriteCall } from '../../write-call.ts';
import { parseMutationOptions, type MutationOptions } from '../../verb-options.ts';
import type { ApiResponse } from '../../../http/request.ts';
import { admitBody, created, requireNamespace, takePreconditions } from '../../subresources/bodies.ts';
import type { StoredEndpoint } from '../../write-request.ts';
import type { PodParts } from './pod-parts.ts';

const BINDING = { group: '', version: 'v1', kind: 'Binding' };
export async function bindPod(endpoint: StoredEndpoint, call: WriteCall): Promise<ApiResponse> {
  const { context, target } = call;
  const options = parseMutationOptions(context, 'CreateOptions');
  const binding = await readKind(BINDING, context, { mode: options.fieldValidation });
  requireNamespace(binding, target.namespace);
  if (binding.metadata?.name !== target.name)
    throw statusErrors.badRequest('name in URL does not match name in Binding object');
  return await bind(endpoint, call, { binding, options });
}

/** POST …/bindings with the pod's name in the body: the older form of pods/NAME/binding. */
export async function bindByBody(
  endpoint: StoredEndpoint,
  call: Omit<WriteCall, 'target'>,
): Promise<ApiResponse> {
  const { context } = call,
    { namespace } = context.info;
  const options = parseMutationOptions(context, 'CreateOptions');
  const binding = await readKind(BINDING, context, { mode: options.fieldValidation });
  requireNamespace(binding, namespace);
  return await bind(
    endpoint,
    { ...call, target: { namespace, name: binding.metadata?.name ?? '' } },
    { binding, options },
  );
}

async function bind(
  endpoint: StoredEndpoint,
  call: WriteCall,
  { binding, options }: { readonly binding: KubeObject; readonly options: MutationOptions },
): Promise<ApiResponse> {
  const { core, target } = call;
  const node = binding['target'] as { kind?: string; name?: string } | undefined;
  const errors = [];
  if (node?.kind && node.kind !== 'Node')
    errors.push(fieldErrors.notSupported('target.kind', node.kind, ['Node', '<empty>']));
  if (!node?.name) errors.push(fieldErrors.required('target.name'));
  if (errors.length > 0) throw statusErrors.badRequest(fieldErrorsText(errors));
  await admitBody(endpoint, call, { subresource: 'binding', body: binding, options });
  checkNameParameter(target.name);
  const conflict = (why: string): StatusError =>
    statusErrors.conflict({ group: '', resource: 'pods/binding', name: target.name }, why);
  await core.registry.update(
    endpoint,
    {
      change: (current) => {
        const { spec } = current as PodParts;
        if (current!.metadata?.deletionTimestamp)
          throw conflict(`pod ${target.name} is being deleted, cannot be assigned to a host`);
        if (spec?.nodeName)
          throw conflict(`pod ${target.name} is already assigned to node ${JSON.stringify(spec.nodeName)}`);
        if (spec?.schedulingGates?.length)
          throw conflict(`pod ${target.name} has non-empty .spec.schedulingGates`);
        const next = deepClone(current!) as KubeObject & PodParts;
        next.spec!.nodeName = (binding['target'] as { name: string }).name;
        const meta = next.metadata!;
        if (binding.metadata?.annotations)
          meta.annotations = { ...meta.annotations, ...binding.metadata.annotations };
        if (binding.metadata?.labels) meta.labels = { ...meta.labels, ...binding.metadata.labels };
        takePreconditions(meta, binding.metadata);
        // Once bound, the nominated node is of no use.
        delete next.status?.nominatedNodeName;
        const status = (next.status ??= {});
        status.conditions = updateCondition(status.conditions, {
          type: 'PodScheduled',
          status: 'True',
          lastProbeTime: null,
          lastTransitionTime: formatTime(core.clock.now()),
        });
        return next;
      },
      prepare: () => {},
      // Everything but the node was valid before.
      validate: false,
      applied: true,
    },
    writeRequest(endpoint, call, {
      dryRun: options.dryRun,
      subresource: 'binding',
      options: optionsObject('CreateOptions', options),
      admitted: false,
    }),
  );
  return created(call);
}

/** The name in the body, where the store derives a key from it. */
function checkNameParameter(name: string): void {
  if (name === '') throw statusErrors.badRequest('Name parameter required.');
  const problems = validatePathSegmentName(name);
  if (problems.length > 0)
    throw statusErrors.badRequest(`Name parameter invalid: ${JSON.stringify(name)}: ${problems.join(';')}`);
}
