/** LocalSubjectAccessReview: answered by the server itself, never stored. */
import { defineResource } from '../define.ts';

export const localsubjectaccessreviews = defineResource({
  group: 'authorization.k8s.io',
  plural: 'localsubjectaccessreviews',
  virtual: true,
});
