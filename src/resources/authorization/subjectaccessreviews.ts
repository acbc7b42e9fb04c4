/** SubjectAccessReview: answered by the server itself, never stored. */
import { defineResource } from '../define.ts';

export const subjectaccessreviews = defineResource({
  group: 'authorization.k8s.io',
  plural: 'subjectaccessreviews',
  virtual: true,
});
