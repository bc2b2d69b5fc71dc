// A stand-in for crictl in the lab: the real one's Go module is served by no registry that the lab can reach.
// It speaks to the same CRI socket through Kubernetes' own client and knows the commands that an installation and a
// person looking at a node use: version, info, images, pull, inspecti, rmi, pods, ps, inspect, stop, rm, stopp, rmp, logs.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gogo/protobuf/jsonpb"
	"github.com/gogo/protobuf/proto"
	internalapi "k8s.io/cri-api/pkg/apis"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	client "k8s.io/cri-client/pkg"
)

const release = "v1.31.1"

var (
	endpoint = "unix:///run/containerd/containerd.sock"
	image    = ""
	timeout  = 10 * time.Second
	asJSON   = false
	quiet    = false
	all      = false
	force    = false
)

func main() {
	readConfig("/etc/crictl.yaml")
	if value := os.Getenv("CONTAINER_RUNTIME_ENDPOINT"); value != "" {
		endpoint = value
	}
	words := parse(os.Args[1:])
	if len(words) == 0 {
		fail(fmt.Errorf("usage: crictl version|info|images|pull|inspecti|rmi|pods|ps|inspect|stop|rm|stopp|rmp|logs"))
	}
	if err := run(context.Background(), words[0], words[1:]); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "crictl (stand-in):", err)
	os.Exit(1)
}

func readConfig(path string) {
	content, err := os.ReadFile(path)
	if err != nil {
		return
	}
	for _, line := range strings.Split(string(content), "\n") {
		key, value, found := strings.Cut(line, ":")
		value = strings.Trim(strings.TrimSpace(value), `"'`)
		if !found || value == "" {
			continue
		}
		switch strings.TrimSpace(key) {
		case "runtime-endpoint":
			endpoint = value
		case "image-endpoint":
			image = value
		case "timeout":
			if parsed, err := time.ParseDuration(value); err == nil {
				timeout = parsed
			} else if parsed, err := time.ParseDuration(value + "s"); err == nil {
				timeout = parsed
			}
		}
	}
}

func parse(arguments []string) (words []string) {
	for i := 0; i < len(arguments); i++ {
		name, value, joined := strings.Cut(arguments[i], "=")
		next := func() string {
			if !joined && i+1 < len(arguments) {
				i++
				return arguments[i]
			}
			return value
		}
		switch name {
		case "-r", "--runtime-endpoint":
			endpoint = next()
		case "-i", "--image-endpoint":
			image = next()
		case "-t", "--timeout":
			if parsed, err := time.ParseDuration(next()); err == nil {
				timeout = parsed
			}
		case "-o", "--output":
			asJSON = next() == "json"
		case "-q", "--quiet":
			quiet = true
		case "-a", "--all":
			all = true
		case "-f", "--force":
			force = true
		case "-v", "--version":
			fmt.Println("crictl version", release, "(stand-in)")
			os.Exit(0)
		default:
			if strings.HasPrefix(name, "-") {
				fail(fmt.Errorf("the stand-in does not know the option %s", name))
			}
			words = append(words, arguments[i])
		}
	}
	return words
}

func runtimeService() internalapi.RuntimeService {
	service, err := client.NewRemoteRuntimeService(endpoint, timeout, nil, nil)
	if err != nil {
		fail(err)
	}
	return service
}

func imageService() internalapi.ImageManagerService {
	if image == "" {
		image = endpoint
	}
	service, err := client.NewRemoteImageService(image, 10*time.Minute, nil, nil)
	if err != nil {
		fail(err)
	}
	return service
}

func show(message proto.Message) error {
	text, err := (&jsonpb.Marshaler{EmitDefaults: true, Indent: "  "}).MarshalToString(message)
	fmt.Println(text)
	return err
}

// showStatus prints a status whose `info` values are JSON texts: they are unfolded, as crictl does.
func showStatus(message proto.Message, info map[string]string) error {
	text, err := (&jsonpb.Marshaler{EmitDefaults: true}).MarshalToString(message)
	if err != nil {
		return err
	}
	whole := map[string]any{"status": json.RawMessage(text)}
	for key, value := range info {
		if json.Valid([]byte(value)) {
			whole[key] = json.RawMessage(value)
		} else {
			whole[key] = value
		}
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(whole)
}

func each(ids []string, do func(string) error) error {
	for _, id := range ids {
		if err := do(id); err != nil {
			return err
		}
		fmt.Println(id)
	}
	return nil
}

func run(ctx context.Context, command string, words []string) error {
	switch command {
	case "version":
		answer, err := runtimeService().Version(ctx, "")
		if err != nil {
			return err
		}
		fmt.Printf("Version:  %s\nRuntimeName:  %s\nRuntimeVersion:  %s\nRuntimeApiVersion:  %s\n",
			answer.Version, answer.RuntimeName, answer.RuntimeVersion, answer.RuntimeApiVersion)
		return nil
	case "info":
		answer, err := runtimeService().Status(ctx, true)
		if err != nil {
			return err
		}
		return showStatus(answer.Status, answer.Info)
	case "images", "image", "img":
		return images(ctx, words)
	case "pull", "rmi", "inspecti":
		if len(words) == 0 {
			return fmt.Errorf("%s needs an image", command)
		}
		return oneImage(ctx, command, words)
	case "pods", "ps", "inspect", "inspectp", "stop", "rm", "stopp", "rmp", "logs":
		return containers(ctx, command, words)
	}
	return fmt.Errorf("the stand-in does not know the command %s", command)
}

func images(ctx context.Context, words []string) error {
	filter := &cri.ImageFilter{}
	if len(words) > 0 {
		filter.Image = &cri.ImageSpec{Image: words[0]}
	}
	found, err := imageService().ListImages(ctx, filter)
	if err != nil {
		return err
	}
	if asJSON {
		return show(&cri.ListImagesResponse{Images: found})
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 4, 3, ' ', 0)
	defer table.Flush()
	if !quiet {
		fmt.Fprintln(table, "IMAGE\tTAG\tIMAGE ID\tSIZE")
	}
	for _, each := range found {
		if quiet {
			fmt.Fprintln(table, each.Id)
			continue
		}
		tags := each.RepoTags
		if len(tags) == 0 {
			tags = []string{"<none>:<none>"}
		}
		for _, tag := range tags {
			at := strings.LastIndex(tag, ":")
			fmt.Fprintf(table, "%s\t%s\t%s\t%.3gMB\n", tag[:at], tag[at+1:], short(each.Id), float64(each.Size_)/1e6)
		}
	}
	return nil
}

func oneImage(ctx context.Context, command string, words []string) error {
	service := imageService()
	switch command {
	case "pull":
		id, err := service.PullImage(ctx, &cri.ImageSpec{Image: words[0]}, nil, nil)
		if err == nil {
			fmt.Println("Image is up to date for", id)
		}
		return err
	case "rmi":
		return each(words, func(id string) error { return service.RemoveImage(ctx, &cri.ImageSpec{Image: id}) })
	}
	answer, err := service.ImageStatus(ctx, &cri.ImageSpec{Image: words[0]}, true)
	if err != nil {
		return err
	}
	if answer.Image == nil {
		return fmt.Errorf("no such image %q present", words[0])
	}
	return showStatus(answer.Image, answer.Info)
}

func containers(ctx context.Context, command string, words []string) error {
	service := runtimeService()
	switch command {
	case "pods":
		return pods(ctx, service)
	case "ps":
		return processes(ctx, service)
	case "stop":
		return each(words, func(id string) error { return service.StopContainer(ctx, id, 0) })
	case "rm":
		return each(words, func(id string) error { return service.RemoveContainer(ctx, id) })
	case "stopp":
		return each(words, func(id string) error { return service.StopPodSandbox(ctx, id) })
	case "rmp":
		return each(words, func(id string) error {
			if force {
				if err := service.StopPodSandbox(ctx, id); err != nil {
					return err
				}
			}
			return service.RemovePodSandbox(ctx, id)
		})
	}
	if len(words) == 0 {
		return fmt.Errorf("%s needs an id", command)
	}
	if command == "inspectp" {
		answer, err := service.PodSandboxStatus(ctx, words[0], true)
		if err != nil {
			return err
		}
		return showStatus(answer.Status, answer.Info)
	}
	answer, err := service.ContainerStatus(ctx, words[0], true)
	if err != nil {
		return err
	}
	if command == "inspect" {
		return showStatus(answer.Status, answer.Info)
	}
	file, err := os.Open(answer.Status.LogPath)
	if err != nil {
		return err
	}
	defer file.Close()
	content, err := io.ReadAll(file)
	for _, line := range strings.Split(strings.TrimSuffix(string(content), "\n"), "\n") {
		if parts := strings.SplitN(line, " ", 4); len(parts) == 4 { // time stream F|P text
			fmt.Println(parts[3])
		}
	}
	return err
}

func pods(ctx context.Context, service internalapi.RuntimeService) error {
	found, err := service.ListPodSandbox(ctx, nil)
	if err != nil {
		return err
	}
	if asJSON {
		return show(&cri.ListPodSandboxResponse{Items: found})
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 4, 3, ' ', 0)
	defer table.Flush()
	if !quiet {
		fmt.Fprintln(table, "POD ID\tSTATE\tNAME\tNAMESPACE\tATTEMPT")
	}
	for _, pod := range found {
		if quiet {
			fmt.Fprintln(table, pod.Id)
			continue
		}
		state := strings.TrimPrefix(pod.State.String(), "SANDBOX_")
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\n", short(pod.Id), state, pod.Metadata.Name, pod.Metadata.Namespace, pod.Metadata.Attempt)
	}
	return nil
}

func processes(ctx context.Context, service internalapi.RuntimeService) error {
	filter := &cri.ContainerFilter{}
	if !all {
		filter.State = &cri.ContainerStateValue{State: cri.ContainerState_CONTAINER_RUNNING}
	}
	found, err := service.ListContainers(ctx, filter)
	if err != nil {
		return err
	}
	if asJSON {
		return show(&cri.ListContainersResponse{Containers: found})
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 4, 3, ' ', 0)
	defer table.Flush()
	if !quiet {
		fmt.Fprintln(table, "CONTAINER\tIMAGE\tSTATE\tNAME\tATTEMPT\tPOD ID\tPOD")
	}
	for _, one := range found {
		if quiet {
			fmt.Fprintln(table, one.Id)
			continue
		}
		state := strings.TrimPrefix(one.State.String(), "CONTAINER_")
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", short(one.Id), short(one.Image.Image), state, one.Metadata.Name,
			one.Metadata.Attempt, short(one.PodSandboxId), one.Labels["io.kubernetes.pod.name"])
	}
	return nil
}

func short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	if len(id) > 13 {
		return id[:13]
	}
	return id
}
