/** serviceaccounts/NAME/token: issues a bound token (TokenRequest). */
import { fieldErrors, statusErrors } from '#machinery/errors.ts';
import { formatApiVersion, parseApiVersion, type KubeObject } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import { schemaForKind } from '#api/schemas.ts';
import type { TokenIssuer } from '../../../authn/authenticator.ts';
import { readKind } from '../../body.ts';
import type { WriteCall } from '../../write-call.ts';
import { parseManager, parseMutationOptions } from '../../verb-options.ts';
import type { ApiResponse } from '../../../http/request.ts';
import { ownBody } from '../../field-manager.ts';
import { admitBody, requireNamespace } from '../../subresources/bodies.ts';
import { respondEncoded, viewOptions } from '../../transform.ts';
import type { StoredEndpoint } from '../../write-request.ts';

const TOKEN_REQUEST = { group: 'authentication.k8s.io', version: 'v1', kind: 'TokenRequest' };
const MIN_EXPIRATION_SECONDS = 600;
const MAX_EXPIRATION_SECONDS = 2 ** 32;
const DEFAULT_EXPIRATION_SECONDS = 3600;

interface TokenSpec {
  audiences?: string[];
  expirationSeconds?: number;
  boundObjectRef?: { kind?: string; apiVersion?: string; name?: string; uid?: string };
}

export async function issueToken(endpoint: StoredEndpoint, call: WriteCall): Promise<ApiResponse> {
  const { context, core, target } = call;
  const options = parseMutationOptions(context, 'CreateOptions');
  const view = viewOptions(context, core.clock.now());
  const request = await readKind(TOKEN_REQUEST, context, { mode: options.fieldValidation });
  const { name, uid: wantedUid } = request.metadata ?? {};
  requireNamespace(request, target.namespace);
  const spec = (request['spec'] ??= {}) as TokenSpec;
  spec.expirationSeconds ??= DEFAULT_EXPIRATION_SECONDS;
  ownBody(request, {
    schema: schemaForKind(TOKEN_REQUEST)!,
    apiVersion: formatApiVersion(TOKEN_REQUEST),
    manager: parseManager(context, options.fieldManager),
    subresource: 'token',
    nowMs: core.clock.now(),
  });
  await admitBody(endpoint, call, { subresource: 'token', body: request, options });
  if (!core.tokenIssuer) throw statusErrors.unavailable('this server issues no service account tokens');
  if (name && name !== target.name)
    throw statusErrors.invalid({ ...TOKEN_REQUEST, name: target.name }, [
      fieldErrors.invalid('metadata.name', name, 'must match the service account name if specified'),
    ]);
  const entry = endpoint.cache.entries.get(endpoint.cache.key(target));
  if (!entry) throw statusErrors.notFound({ ...endpoint.groupResource, name: target.name });
  const uid = endpoint.cache.parsed.of(entry).metadata?.uid ?? '';
  if (wantedUid && wantedUid !== uid)
    throw statusErrors.conflict(
      { group: TOKEN_REQUEST.group, resource: TOKEN_REQUEST.kind, name: target.name },
      `the UID in the token request (${wantedUid}) does not match the UID of the service account (${uid})`,
    );
  const expirationSeconds = checkedExpiration(spec);
  const bound = boundObject(spec, call);
  const audiences = spec.audiences?.length ? spec.audiences : [...core.tokenIssuer.defaultAudiences];
  // A dry run too: nothing is stored, and the caller may have the token.
  const issued = await core.tokenIssuer.issue({
    namespace: target.namespace,
    serviceAccount: { name: target.name, uid },
    audiences,
    expirationSeconds,
    ...bound,
  });
  if (issued.warning) context.warnings.push(issued.warning);
  context.annotate?.('authentication.kubernetes.io/issued-credential-id', issued.credentialId);
  const answer: KubeObject = {
    kind: 'TokenRequest',
    apiVersion: 'authentication.k8s.io/v1',
    metadata: {
      ...request.metadata,
      name: target.name,
      namespace: target.namespace,
      uid,
      creationTimestamp: formatTime(core.clock.now()),
    },
    spec: {
      ...spec,
      audiences,
      expirationSeconds: issued.expirationSeconds,
      boundObjectRef: spec.boundObjectRef ?? null,
    },
    status: { token: issued.token, expirationTimestamp: issued.expirationTimestamp },
  };
  return respondEncoded(answer, { status: 201, options: view });
}

function checkedExpiration({ expirationSeconds = 0 }: TokenSpec): number {
  const refuse = (detail: string): Error =>
    statusErrors.invalid({ ...TOKEN_REQUEST, name: '' }, [
      fieldErrors.invalid('spec.expirationSeconds', expirationSeconds, detail),
    ]);
  if (expirationSeconds < MIN_EXPIRATION_SECONDS)
    throw refuse('may not specify a duration less than 10 minutes');
  if (expirationSeconds > MAX_EXPIRATION_SECONDS)
    throw refuse('may not specify a duration larger than 2^32 seconds');
  return expirationSeconds;
}

type Bound = Pick<Parameters<TokenIssuer['issue']>[0], 'boundTo' | 'node'>;

const BOUND_KINDS: Readonly<Record<string, { readonly resource: string; readonly namespaced: boolean }>> = {
  Pod: { resource: 'pods', namespaced: true },
  Secret: { resource: 'secrets', namespaced: true },
  Node: { resource: 'nodes', namespaced: false },
};

/** The object to which the token is bound; it must exist. Only group and kind matter, not the version. */
function boundObject({ boundObjectRef: ref }: TokenSpec, { core, target }: WriteCall): Bound {
  if (!ref) return {};
  const { group, version } = parseApiVersion(ref.apiVersion ?? '');
  const { kind = '', name = '' } = ref;
  const of =
    group === '' && Object.hasOwn(BOUND_KINDS, kind) ? { group: '', ...BOUND_KINDS[kind]! } : undefined;
  if (!of)
    throw statusErrors.badRequest(`cannot bind token to object of type ${group}/${version}, Kind=${kind}`);
  if (name === '') throw statusErrors.badRequest('Name parameter required.');
  const object = core.internal.get(of, { name, namespace: of.namespaced ? target.namespace : '' });
  if (!object) throw statusErrors.notFound({ ...of, name });
  const uid = object.metadata?.uid ?? '';
  const spec = (object as { spec?: { serviceAccountName?: string; nodeName?: string } }).spec;
  if (kind === 'Pod' && spec?.serviceAccountName !== target.name) {
    throw statusErrors.badRequest(
      `cannot bind token for serviceaccount ${JSON.stringify(target.name)} to pod running with different serviceaccount name.`,
    );
  }
  if (ref.uid && ref.uid !== uid)
    throw statusErrors.conflict(
      { group: '', resource: kind, name },
      `the UID in the bound object reference (${ref.uid}) does not match the UID in record. The object might have been deleted and then recreated`,
    );
  const node =
    kind === 'Pod' && spec?.nodeName
      ? core.internal.get({ group: '', resource: 'nodes' }, { name: spec.nodeName })
      : undefined;
  return {
    boundTo: { kind: kind as 'Pod', name, uid },
    ...(kind === 'Pod' && spec?.nodeName
      ? { node: { name: spec.nodeName, ...(node?.metadata?.uid ? { uid: node.metadata.uid } : {}) } }
      : {}),
  };
}
