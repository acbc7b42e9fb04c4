/** The secrets that a volume names for its driver, as text. */
import type { Client } from '#client/client.ts';
import { secrets } from '#client/refs.ts';
import { errorMessage } from '#stdx/log.ts';
import type { Texts } from './protocol.ts';
import type { SecretReference } from './volume-request.ts';

/** Empty where none is named. field: 'NodeStageSecretRef', for the error. */
export async function readSecretTexts(
  api: Client,
  { reference, field }: { readonly reference: SecretReference | undefined; readonly field: string },
): Promise<Texts> {
  if (!reference?.name) return {};
  const { name, namespace = '' } = reference;
  const found = await api.get(secrets, { name, namespace }).catch((error: unknown) => {
    throw new Error(`fetching ${field} ${namespace}/${name} failed: ${errorMessage(error)}`, {
      cause: error,
    });
  });
  return Object.fromEntries(
    Object.entries(found.data ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]),
  );
}
