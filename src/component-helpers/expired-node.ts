/**
 * How a node whose client certificate has ended shows in the API: authenticated only as far as asking for another certificate. The API server makes this
 * user of the certificate; the approver of its request reads who it was and since when.
 */

const PREFIX = 'capstan:expired-node:';
export const EXPIRED_NODES = 'capstan:expired-nodes';
/** Key in the user's extra: RFC 3339 time of the certificate's end. */
export const EXPIRED_AT = 'capstan.dev/certificate-expired-at';
/** Subresource of certificatesigningrequests: who may create it has such a request approved without a person. */
export const EXPIRED_NODE_CLIENT = 'expirednodeclient';

export function expiredNodeUser(nodeName: string): string {
  return PREFIX + nodeName;
}

/** The node's name; undefined for every other user. */
export function expiredNodeName(user: string | undefined): string | undefined {
  return user?.startsWith(PREFIX) ? user.slice(PREFIX.length) : undefined;
}
