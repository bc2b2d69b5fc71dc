// A stand-in for Grafana, whose image and source cannot be had where this mirror is built: its port, its health, its
// password, the provisioned files read as Grafana reads them, and the way through it to Prometheus. No pictures.
package main

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

type dashboard struct {
	Uid    string            `json:"uid"`
	Title  string            `json:"title"`
	Panels []json.RawMessage `json:"panels"`
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// setting finds `name: value` in the YAML files of a provisioning folder; all that is needed of them is one line each.
func setting(folder, name string) (string, error) {
	line := regexp.MustCompile(`(?m)^\s*(?:- )?` + name + `:\s*"?([^"\s]+)"?\s*$`)
	files, _ := filepath.Glob(filepath.Join(env("GF_PATHS_PROVISIONING", "/etc/grafana/provisioning"), folder, "*.yaml"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		if found := line.FindSubmatch(text); found != nil {
			return string(found[1]), nil
		}
	}
	return "", fmt.Errorf("no `%s` in the provisioning files of %s", name, folder)
}

func dashboards() (map[string]json.RawMessage, []dashboard, error) {
	folder, err := setting("dashboards", "path")
	if err != nil {
		return nil, nil, err
	}
	files, _ := filepath.Glob(filepath.Join(folder, "*.json"))
	texts, found := map[string]json.RawMessage{}, []dashboard{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, nil, err
		}
		var one dashboard
		if err := json.Unmarshal(text, &one); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", file, err)
		}
		texts[one.Uid] = text
		found = append(found, one)
	}
	return texts, found, nil
}

func answer(w http.ResponseWriter, code int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(value)
}

func known(w http.ResponseWriter, r *http.Request) bool {
	user, password, _ := r.BasicAuth()
	same := subtle.ConstantTimeCompare([]byte(user), []byte(env("GF_SECURITY_ADMIN_USER", "admin"))) == 1 &&
		subtle.ConstantTimeCompare([]byte(password), []byte(env("GF_SECURITY_ADMIN_PASSWORD", "admin"))) == 1
	if !same {
		answer(w, http.StatusUnauthorized, map[string]string{"message": "Invalid username or password"})
	}
	return same
}

func main() {
	if _, _, err := dashboards(); err != nil {
		log.Fatal(err)
	}
	source, err := setting("datasources", "url")
	if err != nil {
		log.Fatal(err)
	}
	target, err := url.Parse(source)
	if err != nil {
		log.Fatal(err)
	}
	through := httputil.NewSingleHostReverseProxy(target)
	http.HandleFunc("/api/health", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, map[string]string{"commit": "stand-in", "database": "ok", "version": "stand-in"})
	})
	http.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "# TYPE grafana_build_info gauge\ngrafana_build_info{version=\"stand-in\"} 1")
	})
	http.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "<!doctype html><title>Grafana (stand-in)</title>A stand-in: there is no Grafana in this lab.")
	})
	http.HandleFunc("/api/search", func(w http.ResponseWriter, r *http.Request) {
		if known(w, r) {
			_, found, err := dashboards()
			if err != nil {
				answer(w, 500, map[string]string{"message": err.Error()})
				return
			}
			listed := []map[string]string{}
			for _, one := range found {
				listed = append(listed, map[string]string{"uid": one.Uid, "title": one.Title, "type": "dash-db"})
			}
			answer(w, 200, listed)
		}
	})
	http.HandleFunc("/api/dashboards/uid/", func(w http.ResponseWriter, r *http.Request) {
		if known(w, r) {
			texts, _, err := dashboards()
			text, there := texts[strings.TrimPrefix(r.URL.Path, "/api/dashboards/uid/")]
			if err != nil || !there {
				answer(w, 404, map[string]string{"message": "Dashboard not found"})
				return
			}
			answer(w, 200, map[string]any{"dashboard": text})
		}
	})
	prefix := "/api/datasources/proxy/uid/prometheus"
	http.HandleFunc(prefix+"/", func(w http.ResponseWriter, r *http.Request) {
		if known(w, r) {
			r.URL.Path = strings.TrimPrefix(r.URL.Path, prefix)
			r.Header.Del("Authorization")
			through.ServeHTTP(w, r)
		}
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) })
	log.Fatal(http.ListenAndServe(":3000", nil))
}
