/** A failure of the runtime in the words that kubectl's users know from Go's gRPC: 'rpc error: code = NotFound desc = …'. */
import { isCriError } from '../cri/errors.ts';
import { errorMessage } from '#stdx/log.ts';

export function runtimeErrorText(error: unknown): string {
  if (!isCriError(error)) return errorMessage(error);
  const code = error.code.replaceAll(/(?:^|-)([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return `rpc error: code = ${code === 'Cancelled' ? 'Canceled' : code} desc = ${error.details}`;
}
