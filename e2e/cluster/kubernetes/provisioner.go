package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// The volume provisioner owns the folders below its root, one per volume, and the PersistentVolumes that
// point to them. It provisions claims of its StorageClasses on the only node, follows a claim's growth, and
// removes volumes that are released with the policy Delete. Sizes are recorded, not enforced.

const (
	provisionerName = "bolide.dev/folder"
	// Annotations by which Kubernetes' own volume binder and an external provisioner agree.
	annotationProvisioner = "volume.kubernetes.io/storage-provisioner"
	annotationNode        = "volume.kubernetes.io/selected-node"
	annotationOrigin      = "pv.kubernetes.io/provisioned-by"
	// resyncPeriod bounds how long a failed step waits for its next try.
	resyncPeriod = time.Second
)

type provisioner struct {
	root    string
	client  kubernetes.Interface
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	classes storagelisters.StorageClassLister
}

func newProvisionerCommand() *cobra.Command {
	var kubeconfig, root string
	command := &cobra.Command{
		Use:   "volume-provisioner",
		Short: "Makes a folder of this machine for each claim of the class bolide.dev/folder",
		RunE: func(command *cobra.Command, _ []string) error {
			return runProvisioner(command.Context(), kubeconfig, root)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "file that says how to reach the API server")
	command.Flags().StringVar(&root, "root", "", "folder that holds the volumes")
	for _, name := range []string{"kubeconfig", "root"} {
		if err := command.MarkFlagRequired(name); err != nil {
			panic(err)
		}
	}
	return command
}

func runProvisioner(ctx context.Context, kubeconfig, root string) error {
	if ctx == nil {
		ctx = context.Background()
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	it := &provisioner{
		root:    root,
		client:  client,
		claims:  factory.Core().V1().PersistentVolumeClaims().Lister(),
		volumes: factory.Core().V1().PersistentVolumes().Lister(),
		classes: factory.Storage().V1().StorageClasses().Lister(),
	}
	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notify() },
		UpdateFunc: func(any, any) { notify() },
		DeleteFunc: func(any) { notify() },
	}
	for _, informer := range []cache.SharedIndexInformer{
		factory.Core().V1().PersistentVolumeClaims().Informer(),
		factory.Core().V1().PersistentVolumes().Informer(),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	ticker := time.NewTicker(resyncPeriod)
	defer ticker.Stop()
	for {
		if err := it.reconcile(ctx); err != nil {
			klog.ErrorS(err, "reconcile")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-ticker.C:
		}
	}
}

// reconcile looks at every claim and volume; what it has done before, it finds done.
func (p *provisioner) reconcile(ctx context.Context) error {
	claims, err := p.claims.List(labels.Everything())
	if err != nil {
		return err
	}
	for _, claim := range claims {
		if err := p.reconcileClaim(ctx, claim); err != nil {
			klog.ErrorS(err, "claim", "claim", klog.KObj(claim))
		}
	}
	volumes, err := p.volumes.List(labels.Everything())
	if err != nil {
		return err
	}
	for _, volume := range volumes {
		if err := p.removeReleased(ctx, volume); err != nil {
			klog.ErrorS(err, "volume", "volume", volume.Name)
		}
	}
	return nil
}

func (p *provisioner) reconcileClaim(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	if claim.Annotations[annotationProvisioner] != provisionerName || claim.Spec.StorageClassName == nil {
		return nil
	}
	class, err := p.classes.Get(*claim.Spec.StorageClassName)
	if err != nil {
		return err
	}
	switch {
	case claim.DeletionTimestamp != nil:
		return nil
	case claim.Spec.VolumeName == "":
		return p.provision(ctx, claim, class)
	case claim.Status.Phase == core.ClaimBound && class.AllowVolumeExpansion != nil && *class.AllowVolumeExpansion:
		return p.grow(ctx, claim)
	}
	return nil
}

func (p *provisioner) provision(ctx context.Context, claim *core.PersistentVolumeClaim, class *storage.StorageClass) error {
	node := claim.Annotations[annotationNode]
	if node == "" {
		return nil // the class waits for the first pod, and the scheduler has not chosen yet
	}
	name := "pvc-" + string(claim.UID)
	if _, err := p.volumes.Get(name); !errors.IsNotFound(err) {
		return err
	}
	folder := filepath.Join(p.root, name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	policy := core.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	volume := &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{annotationOrigin: provisionerName}},
		Spec: core.PersistentVolumeSpec{
			Capacity:                      core.ResourceList{core.ResourceStorage: claim.Spec.Resources.Requests[core.ResourceStorage]},
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: policy,
			StorageClassName:              class.Name,
			ClaimRef: &core.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: folder}},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{
				NodeSelectorTerms: []core.NodeSelectorTerm{{
					MatchExpressions: []core.NodeSelectorRequirement{{
						Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{node},
					}},
				}},
			}},
		},
	}
	_, err := p.client.CoreV1().PersistentVolumes().Create(ctx, volume, meta.CreateOptions{})
	if errors.IsAlreadyExists(err) {
		return nil
	}
	klog.InfoS("provisioned", "claim", klog.KObj(claim), "volume", name)
	return err
}

// grow makes the volume as large as its claim asks, then says so in the claim's status.
func (p *provisioner) grow(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	wanted := claim.Spec.Resources.Requests[core.ResourceStorage]
	found := claim.Status.Capacity[core.ResourceStorage]
	if wanted.Cmp(found) <= 0 {
		return nil
	}
	volume, err := p.volumes.Get(claim.Spec.VolumeName)
	if err != nil {
		return err
	}
	if capacity := volume.Spec.Capacity[core.ResourceStorage]; capacity.Cmp(wanted) < 0 {
		volume = volume.DeepCopy()
		volume.Spec.Capacity[core.ResourceStorage] = wanted
		if _, err := p.client.CoreV1().PersistentVolumes().Update(ctx, volume, meta.UpdateOptions{}); err != nil {
			return err
		}
	}
	claim = claim.DeepCopy()
	claim.Status.Capacity[core.ResourceStorage] = wanted
	claim.Status.Conditions = nil
	_, err = p.client.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, claim, meta.UpdateOptions{})
	klog.InfoS("grown", "claim", klog.KObj(claim), "size", wanted.String())
	return err
}

func (p *provisioner) removeReleased(ctx context.Context, volume *core.PersistentVolume) error {
	if volume.Annotations[annotationOrigin] != provisionerName ||
		volume.Status.Phase != core.VolumeReleased ||
		volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete ||
		volume.Spec.Local == nil {
		return nil
	}
	folder := volume.Spec.Local.Path
	if !strings.HasPrefix(folder, filepath.Clean(p.root)+string(filepath.Separator)) {
		return fmt.Errorf("%s is not below %s", folder, p.root)
	}
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	err := p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{})
	if errors.IsNotFound(err) {
		return nil
	}
	klog.InfoS("removed", "volume", volume.Name)
	return err
}
