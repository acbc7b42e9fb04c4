/** certificatesigningrequests/NAME/approval: changes the conditions; the resource's own hooks keep certificate and request. */
import type { WriteCall } from '../../handlers/call.ts';
import { patch } from '../../handlers/patch.ts';
import { update } from '../../handlers/update.ts';
import type { ApiResponse } from '../../http/request.ts';
import type { StoredEndpoint } from '../write-request.ts';

export async function approveCertificateSigningRequest(
  endpoint: StoredEndpoint,
  call: WriteCall,
): Promise<ApiResponse> {
  return call.context.info.verb === 'patch'
    ? patch(endpoint, call, { subresource: 'approval' })
    : update(endpoint, call, { subresource: 'approval' });
}
