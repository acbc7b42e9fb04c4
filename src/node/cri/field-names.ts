/** Names of the fields of CRI messages on our side. Of the codec, and of tools/generate-api, which writes the types. */

/** 'pod_sandbox_id' → 'podSandboxId', 'Full' → 'full', 'CDI_devices' → 'cdiDevices'. */
export function camelCase(name: string): string {
  const [first = '', ...rest] = name.split('_');
  const head = /^[A-Z]+$/.test(first) ? first.toLowerCase() : first.charAt(0).toLowerCase() + first.slice(1);
  return head + rest.map((part) => part.charAt(0).toUpperCase() + part.slice(1)).join('');
}
