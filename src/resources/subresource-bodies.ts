/** Bodies and options of subresources that are no resources of their own: Scale, Binding, log options. Messages are upstream's. */
import type { Binding, Scale } from '#api/types.ts';
import type { FieldError } from '#machinery/errors.ts';
import { NEGATIVE } from './checks.ts';
import { Errors, METADATA, Path, SPEC } from './field-path.ts';

export function validateScale(scale: Scale): FieldError[] {
  const errors = new Errors(), replicas = scale.spec?.replicas ?? 0;
  if (!scale.metadata?.name) errors.required(METADATA.child('name'), 'name or generateName is required');
  if (replicas < 0) errors.invalid(SPEC.child('replicas'), replicas, NEGATIVE);
  return errors.list;
}

export function validateBinding(binding: Binding): FieldError[] {
  const errors = new Errors(), target = Path.root('target');
  const { kind, name } = binding.target ?? {};
  if (kind && kind !== 'Node') errors.notSupported(target.child('kind'), kind, ['<empty>', 'Node']);
  if (!name) errors.required(target.child('name'));
  return errors.list;
}

export interface PodLogOptions {
  readonly tailLines?: number;
  readonly limitBytes?: number;
  readonly sinceSeconds?: number;
  readonly sinceTime?: string;
  readonly stream?: string;
}

const STREAMS = ['All', 'Stderr', 'Stdout'];

export function validatePodLogOptions(options: PodLogOptions): FieldError[] {
  const errors = new Errors(), { tailLines, limitBytes, sinceSeconds, sinceTime, stream = 'All' } = options;
  if (tailLines !== undefined && tailLines < 0) errors.invalid(Path.root('tailLines'), tailLines, NEGATIVE);
  if (limitBytes !== undefined && limitBytes < 1) errors.invalid(Path.root('limitBytes'), limitBytes, 'must be greater than 0');
  if (sinceSeconds !== undefined && sinceTime !== undefined) errors.forbidden(Path.root(''), 'at most one of `sinceTime` or `sinceSeconds` may be specified');
  else if (sinceSeconds !== undefined && sinceSeconds < 1) errors.invalid(Path.root('sinceSeconds'), sinceSeconds, 'must be greater than 0');
  if (!STREAMS.includes(stream)) errors.notSupported(Path.root('stream'), stream, STREAMS);
  else if (stream !== 'All' && tailLines !== undefined) errors.forbidden(Path.root(''), '`tailLines` and specific `stream` are mutually exclusive for now');
  return errors.list;
}
