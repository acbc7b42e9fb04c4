/** Roles of Nodes, as kubeadm labels and taints them. */

/** Label, and key of the taint, of a control plane's Node. */
export const CONTROL_PLANE_ROLE = 'node-role.kubernetes.io/control-plane';
