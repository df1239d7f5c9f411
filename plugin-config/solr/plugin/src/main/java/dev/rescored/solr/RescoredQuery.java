package dev.rescored.solr;

import dev.rescored.common.RerankOptions;
import dev.rescored.common.Sidecar;
import java.io.IOException;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.Query;
import org.apache.lucene.search.QueryVisitor;
import org.apache.lucene.search.ScoreDoc;
import org.apache.lucene.search.ScoreMode;
import org.apache.lucene.search.TopDocsCollector;
import org.apache.lucene.search.Weight;
import org.apache.solr.common.SolrException;
import org.apache.solr.common.SolrException.ErrorCode;
import org.apache.solr.handler.component.MergeStrategy;
import org.apache.solr.search.QueryCommand;
import org.apache.solr.search.RankQuery;
import org.apache.solr.search.SolrIndexSearcher;

/** The caller's query, whose best hits are reranked when they have been collected. */
final class RescoredQuery extends RankQuery {

    /**
     * @param options of the search
     * @param docs hits that are reranked, of each shard
     */
    record Plan(RerankOptions options, int docs, Sidecar sidecar) {}

    private final Query main;
    private final Plan plan;

    RescoredQuery(Query main, Plan plan) {
        this.main = main;
        this.plan = plan;
        // Solr would keep the order of a search that the sidecar did not answer until the next commit; scores have a cache there.
        setCache(false);
    }

    @Override
    public RankQuery wrap(Query query) {
        return new RescoredQuery(query, plan);
    }

    @Override
    public TopDocsCollector<? extends ScoreDoc> getTopDocsCollector(int length, QueryCommand command, IndexSearcher searcher) throws IOException {
        if (command.getSort() != null) {
            throw new SolrException(ErrorCode.BAD_REQUEST, "rescored: [sort] is not by score alone; leave it out, hits are sorted by their scores");
        }
        return new RescoredCollector(plan, length, command, (SolrIndexSearcher) searcher);
    }

    @Override
    public MergeStrategy getMergeStrategy() {
        // Scores of shards can be compared, of reranked hits and of others.
        return null;
    }

    @Override
    public Query rewrite(IndexSearcher searcher) throws IOException {
        Query rewritten = main.rewrite(searcher);
        return rewritten == main ? this : new RescoredQuery(rewritten, plan);
    }

    @Override
    public Weight createWeight(IndexSearcher searcher, ScoreMode mode, float boost) throws IOException {
        return main.createWeight(searcher, mode, boost);
    }

    @Override
    public void visit(QueryVisitor visitor) {
        main.visit(visitor);
    }

    @Override
    public boolean equals(Object other) {
        return sameClassAs(other) && main.equals(((RescoredQuery) other).main) && plan.equals(((RescoredQuery) other).plan);
    }

    @Override
    public int hashCode() {
        return 31 * (31 * classHash() + main.hashCode()) + plan.hashCode();
    }

    @Override
    public String toString(String field) {
        return "{!rescored docs=" + plan.docs + "}" + main.toString(field);
    }
}
