package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

// Where kubelet puts a pod's account.
const account = "/var/run/secrets/kubernetes.io/serviceaccount/"

// api is the API server, as this pod's account sees it.
type api struct {
	client http.Client
	nodes  string
}

func newAPI() (*api, error) {
	root, err := os.ReadFile(account + "ca.crt")
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	server := net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))
	// kube-proxy may not be there yet: kind names the server itself.
	if endpoint := os.Getenv("CONTROL_PLANE_ENDPOINT"); endpoint != "" {
		server = endpoint
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	return &api{client: http.Client{Transport: transport}, nodes: "https://" + server + "/api/v1/nodes"}, nil
}

// followNodes calls apply for every node there is and for every change, until something fails.
func (api *api) followNodes(ctx context.Context, apply func(node) error) error {
	var list struct {
		Metadata struct{ ResourceVersion string }
		Items    []node
	}
	body, err := api.get(ctx, "")
	if err != nil {
		return err
	}
	err = json.NewDecoder(body).Decode(&list)
	body.Close()
	if err != nil {
		return err
	}
	for _, node := range list.Items {
		if err := apply(node); err != nil {
			return err
		}
	}
	return api.watchNodes(ctx, list.Metadata.ResourceVersion, apply)
}

func (api *api) watchNodes(ctx context.Context, version string, apply func(node) error) error {
	body, err := api.get(ctx, "?watch=true&resourceVersion="+version)
	if err != nil {
		return err
	}
	defer body.Close()
	for changes := json.NewDecoder(body); ; {
		var change struct {
			Type   string
			Object node
		}
		if err := changes.Decode(&change); errors.Is(err, io.EOF) {
			return errors.New("the API server has ended the watch")
		} else if err != nil {
			return err
		}
		if change.Type == "ERROR" {
			return errors.New("the watch is too old")
		}
		if err := apply(change.Object); err != nil {
			return err
		}
	}
}

func (api *api) get(ctx context.Context, query string) (io.ReadCloser, error) {
	// Read each time: kubelet renews it.
	token, err := os.ReadFile(account + "token")
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, api.nodes+query, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+string(token))
	response, err := api.client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("%s: %s", request.URL, response.Status)
	}
	return response.Body, nil
}
