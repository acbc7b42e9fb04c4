/** Subresources that take a body of another kind; those that change one part of an object (status, approval, …) are updates and patches as any. Adding one = one file, one test, one line here. */
import type { WriteCall } from '../write-call.ts';
import type { ApiResponse } from '../../http/request.ts';
import { finalizeNamespace } from '../core/namespaces/finalize.ts';
import { bindPod } from '../core/pods/binding.ts';
import { evictPod } from '../core/pods/eviction.ts';
import { issueToken } from '../core/serviceaccounts/token.ts';
import type { StoredEndpoint } from '../write-request.ts';

interface Subresource {
  /** Besides create. */
  readonly verbs?: readonly string[];
  run(endpoint: StoredEndpoint, call: WriteCall): Promise<ApiResponse>;
}

/** By 'group/resource/subresource'. */
export const SUBRESOURCES: Readonly<Record<string, Subresource>> = {
  '/pods/binding': { run: bindPod },
  '/pods/eviction': { run: evictPod },
  '/serviceaccounts/token': { run: issueToken },
  '/namespaces/finalize': { verbs: ['update'], run: finalizeNamespace },
};
