// Weaviate's own client of its module reranker-transformers, against a running rescored.
//
// The test gives the address in RESCORED_ADDRESS, one that refuses with 429 in REFUSING_ADDRESS, and in CASE a file
// with a query, documents and the scores that /v1/rerank gives them.
package weaviate

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	client "github.com/weaviate/weaviate/modules/reranker-transformers/clients"
)

type example struct {
	Query     string    `json:"query"`
	Documents []string  `json:"documents"`
	Scores    []float64 `json:"scores"`
}

func load(t *testing.T) example {
	t.Helper()
	text, err := os.ReadFile(os.Getenv("CASE"))
	if err != nil {
		t.Fatal(err)
	}
	var given example
	if err := json.Unmarshal(text, &given); err != nil {
		t.Fatal(err)
	}
	return given
}

func TestScoresStandInTheOrderOfTheDocuments(t *testing.T) {
	given := load(t)
	ranker := client.New(os.Getenv("RESCORED_ADDRESS"), 50*time.Second, logrus.New())
	result, err := ranker.Rank(context.Background(), given.Query, given.Documents, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.DocumentScores) != len(given.Documents) {
		t.Fatalf("%d scores for %d documents", len(result.DocumentScores), len(given.Documents))
	}
	for n, scored := range result.DocumentScores {
		if scored.Document != given.Documents[n] || scored.Score != given.Scores[n] {
			t.Errorf("document %d: %q scored %v, not %q with %v", n, scored.Document, scored.Score, given.Documents[n], given.Scores[n])
		}
	}
}

func TestStartupAndMeta(t *testing.T) {
	ranker := client.New(os.Getenv("RESCORED_ADDRESS"), 5*time.Second, logrus.New())
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := ranker.WaitForStartup(ctx, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	meta, err := ranker.MetaInfo()
	if err != nil || len(meta) == 0 {
		t.Fatalf("meta %v, error %v", meta, err)
	}
}

func TestARefusalCarriesItsReason(t *testing.T) {
	ranker := client.New(os.Getenv("REFUSING_ADDRESS"), 5*time.Second, logrus.New())
	_, err := ranker.Rank(context.Background(), "q", []string{"d"}, nil)
	if err == nil || !strings.Contains(err.Error(), "429") || !strings.Contains(err.Error(), "queue full") {
		t.Fatalf("error: %v", err)
	}
}
