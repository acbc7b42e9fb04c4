/** SelfSubjectAccessReview: answered by the server itself, never stored. */
import { defineResource } from '../define.ts';

export const selfsubjectaccessreviews = defineResource({
  group: 'authorization.k8s.io',
  plural: 'selfsubjectaccessreviews',
  virtual: true,
});
