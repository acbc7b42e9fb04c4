/** SelfSubjectRulesReview: answered by the server itself, never stored. */
import { defineResource } from '../define.ts';

export const selfsubjectrulesreviews = defineResource({
  group: 'authorization.k8s.io',
  plural: 'selfsubjectrulesreviews',
  virtual: true,
});
