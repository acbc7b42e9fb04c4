/** Resources that are never stored: reviews, bindings by body, component statuses. */
import { statusErrors } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import {
  reviewLocalSubjectAccess,
  reviewSelfSubjectAccess,
  reviewSelfSubjectRules,
  reviewSubjectAccess,
} from '../../authz/reviews.ts';
import type { Endpoint } from '../endpoints.ts';
import type { RequestContext } from '../../context.ts';
import type { ServerCore } from '../../server-core.ts';
import type { ApiResponse } from '../../http/request.ts';
import { negotiateWithoutTable } from '../../http/negotiation.ts';
import { respondEncoded, viewOptions } from '../transform.ts';
import { ownNew } from '../field-manager.ts';
import { parseManager, parseMutationOptions } from '../verb-options.ts';
import { readObject } from '../body.ts';
import { NOT_THIS_NAMESPACE } from '../write-call.ts';
import { bindByBody } from '../core/pods/binding.ts';
import { admitBody } from './bodies.ts';
import type { Call } from './virtual-call.ts';
import { componentStatuses } from '../core/componentstatuses/component-statuses.ts';

type Review = (object: KubeObject, call: Call) => Promise<KubeObject>;

/** Handlers of POST, by 'group/plural'. */
const REVIEWS: Readonly<Record<string, Review>> = {
  'authorization.k8s.io/subjectaccessreviews': (review, { core }) =>
    reviewSubjectAccess(core.authorizer, review),
  'authorization.k8s.io/localsubjectaccessreviews': (review, { core, context }) =>
    reviewLocalSubjectAccess(core.authorizer, review, context.info.namespace),
  'authorization.k8s.io/selfsubjectaccessreviews': (review, { core, context }) =>
    reviewSelfSubjectAccess(core.authorizer, review, context.user),
  'authorization.k8s.io/selfsubjectrulesreviews': (review, { core, context }) =>
    reviewSelfSubjectRules(core.authorizer, review, context.user),
  'authentication.k8s.io/selfsubjectreviews': selfSubjectReview,
  'authentication.k8s.io/tokenreviews': tokenReview,
};

export const VIRTUAL = {
  handle(endpoint: Endpoint, context: RequestContext, core: ServerCore): Promise<ApiResponse> {
    const call = { endpoint, context, core };
    const key = `${endpoint.gvr.group}/${endpoint.gvr.resource}`;
    if (key === '/bindings') return bindByBody(core.servedEndpoints.required('', 'pods'), { context, core });
    if (key === '/componentstatuses') return componentStatuses(call);
    const review = REVIEWS[key];
    if (!review) throw statusErrors.pathNotFound();
    return answer(review, call);
  },
};

async function answer(review: Review, call: Call): Promise<ApiResponse> {
  const { endpoint, context, core } = call;
  const options = parseMutationOptions(context, 'CreateOptions');
  const view = {
    ...viewOptions(context, core.clock.now()),
    accepted: negotiateWithoutTable(context.request.headers['accept']),
  };
  const object = await readObject(endpoint, context, options.fieldValidation);
  takeMetadata(object, call);
  await ownNew(endpoint, object, {
    manager: parseManager(context, options.fieldManager),
    subresource: '',
    nowMs: core.clock.now(),
  });
  await admitBody(
    endpoint,
    { context, core, target: { namespace: context.info.namespace, name: object.metadata?.name ?? '' } },
    { subresource: '', body: object, options },
  );
  const result = await review(object, call);
  return respondEncoded(
    { kind: endpoint.gvk.kind, apiVersion: endpoint.apiVersion, ...result },
    { status: 201, options: view },
  );
}

/** As for stored objects: the namespace is that of the URL, and server-owned metadata is removed. */
function takeMetadata(object: KubeObject, { endpoint, context }: Call): void {
  const meta = (object.metadata ??= {}),
    { namespace } = context.info;
  if (!endpoint.resource.namespaced) delete meta.namespace;
  else if ((meta.namespace ??= namespace) !== namespace) throw statusErrors.badRequest(NOT_THIS_NAMESPACE);
  delete meta.selfLink;
  delete meta.uid;
  delete meta.creationTimestamp;
  delete meta.deletionTimestamp;
  delete meta.deletionGracePeriodSeconds;
}

function userInfo({ name, uid, groups, extra }: RequestContext['user']): Record<string, unknown> {
  return {
    username: name,
    ...(uid ? { uid } : {}),
    ...(groups.length > 0 ? { groups: [...groups] } : {}),
    ...(extra ? { extra } : {}),
  };
}

/** The response contains nothing of the request's metadata. */
async function selfSubjectReview(review: KubeObject, { context, core }: Call): Promise<KubeObject> {
  return {
    kind: 'SelfSubjectReview',
    apiVersion: review.apiVersion ?? 'authentication.k8s.io/v1',
    metadata: { creationTimestamp: formatTime(core.clock.now()) },
    status: { userInfo: userInfo(context.user) },
  };
}

interface TokenReviewStatus {
  readonly authenticated?: boolean;
  readonly user?: object;
  readonly audiences?: readonly string[];
  readonly error?: string;
}

/** The server overwrites only its own fields of the sent status. */
async function tokenReview(review: KubeObject, { core }: Call): Promise<KubeObject> {
  const { token, audiences = [] } = (review['spec'] ?? {}) as { token?: string; audiences?: string[] };
  if (!token) throw statusErrors.badRequest('token is required for TokenReview in authentication');
  if (!core.tokenReviewer) throw statusErrors.unavailable('this server reviews no tokens');
  const { authenticated, error } = await core.tokenReviewer.review(token, audiences);
  const { authenticated: _claimed, ...given } = {
    user: {},
    ...(review['status'] as object | undefined),
  } as TokenReviewStatus;
  if (!authenticated) return { ...review, status: { ...given, ...(error ? { error } : {}) } };
  const { user: _user, audiences: _audiences, ...rest } = given;
  return {
    ...review,
    status: {
      authenticated: true,
      ...rest,
      user: userInfo(authenticated.user),
      ...(authenticated.audiences ? { audiences: authenticated.audiences } : {}),
    },
  };
}
